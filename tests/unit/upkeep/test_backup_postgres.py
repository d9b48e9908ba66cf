"""Dagster's tables in Postgres: copied as of one moment, loaded once, and only where they fit."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from ironclad_assets.resources import dagster_postgres
from ironclad_assets.settings import Settings
from ironclad_assets.upkeep.backup.postgres import SCHEMA, dump_tables, load_tables

MADE = """
CREATE SCHEMA dagster;
CREATE TABLE dagster.runs (id BIGSERIAL PRIMARY KEY, body TEXT, at TIMESTAMP, "end" DOUBLE PRECISION);
CREATE TABLE dagster.kvs (key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE public.jobs (mine TEXT);
"""


@pytest.fixture
def settings(tmp_path: Path, postgres_url: str) -> Settings:
    """An installation on Postgres with tables such as Dagster's."""
    run(postgres_url, MADE)
    return Settings(home=tmp_path / "home", database_url=postgres_url)


def run(url: str, statements: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in filter(str.strip, statements.split(";")):
            connection.execute(text(statement))
    engine.dispose()


def rows(url: str, table: str) -> list[tuple[object, ...]]:
    engine = create_engine(url)
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(text(f"SELECT * FROM {table} ORDER BY 1"))]
    engine.dispose()
    return found


def test_schema_is_that_of_dagsters_storage() -> None:
    assert SCHEMA == dagster_postgres.SCHEMA


def test_tables_come_back_as_they_were_and_count_on(settings: Settings, tmp_path: Path) -> None:
    """SUPPORT-001: Dagster's storage on Postgres."""
    url = settings.ledger_url
    run(url, "INSERT INTO dagster.runs (body, at) VALUES (E'tab\\t, line\\n, back\\\\', '2026-01-01 00:00:01.5')")
    run(url, "INSERT INTO dagster.kvs VALUES ('a', NULL)")
    before = {name: rows(url, f"dagster.{name}") for name in ("runs", "kvs")}
    folder = tmp_path / "postgres"
    folder.mkdir()
    assert [file.name for file in dump_tables(settings, folder=folder)] == ["kvs.copy", "runs.copy"]
    assert "already" in load_tables(settings, folder=folder)
    run(url, "DELETE FROM dagster.runs; ALTER SEQUENCE dagster.runs_id_seq RESTART")
    assert load_tables(settings, folder=folder) == ""
    assert {name: rows(url, f"dagster.{name}") for name in before} == before
    run(url, "INSERT INTO dagster.runs (body) VALUES ('next')")
    assert len(rows(url, "dagster.runs")) == 2
    assert not folder.exists()
    assert load_tables(settings, folder=folder) == "", "nothing to load is nothing to tell"


def test_tables_of_another_release_stay_where_they_are(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    folder.mkdir()
    list(dump_tables(settings, folder=folder))
    run(settings.ledger_url, "ALTER TABLE dagster.runs ADD COLUMN more TEXT")
    assert "another" in load_tables(settings, folder=folder)
    assert (folder / "runs.copy").exists()
    assert "Postgres" in load_tables(Settings(home=tmp_path / "sqlite"), folder=folder)
