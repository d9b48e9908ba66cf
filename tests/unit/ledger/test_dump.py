"""Dumps of the ledger: the same rows come back, in either database, from every schema."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text

from ironclad_assets.errors import ErrorCode, IroncladError
from ironclad_assets.ledger import schema, tables
from ironclad_assets.ledger.database import Database
from ironclad_assets.ledger.store import Ledger
from tests.unit.ledger.conftest import ERROR, add_song

Rows = dict[str, list[tuple[object, ...]]]


def fill(ledger: Ledger) -> None:
    """Put something of every kind of value into the ledger: NULL, JSON's null, numbers, flags, odd texts."""
    first = add_song(ledger, 1)
    add_song(ledger, 2, user_id="bob")
    ledger.request_cancel(first, actor="me")
    ledger.hold(add_song(ledger, 3), ERROR, actor="ünï \n cöde")
    with ledger._database.write() as connection:
        limit = {"scope": "user", "subject": "ada", "name": "songs", "updated_at": "2026"}
        connection.execute(insert(tables.limits), [limit | {"value": None}, limit | {"name": "n", "value": 1.5}])
        connection.execute(
            insert(tables.stored_artifacts).values(song="s1", stage="a", size_bytes=2**40, written_at="")
        )
    ledger.audit.write("test", "x", actor="me")


def all_rows(url: str) -> Rows:
    database = Database(url)
    found: Rows = {}
    with database.read() as connection:
        for table in tables.metadata.sorted_tables:
            chosen = select(table).order_by(*table.primary_key.columns)
            found[table.name] = [tuple(row) for row in connection.execute(chosen)]
        nulls = text("SELECT count(*) FROM jobs WHERE resolved IS NULL")
        found["nulls"] = [(connection.execute(nulls).scalar(),)]
        nulls = text("SELECT count(*) FROM limits WHERE value IS NULL")
        found["json nulls"] = [(connection.execute(nulls).scalar(),)]
    database.close()
    return found


def dumped(ledger: Ledger) -> bytes:
    stream = io.BytesIO()
    ledger.dump.write(stream)
    return stream.getvalue()


@pytest.fixture(params=["sqlite", "postgres"])
def other_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Another empty database, of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'other.db'}"
        return
    make: Callable[[], Iterator[str]] = request.getfixturevalue("make_postgres")
    yield from make()


@pytest.fixture
def make_postgres(postgres_server: str) -> Callable[[], Iterator[str]]:
    """Make a second database on the server, and remove it afterwards."""

    def make() -> Iterator[str]:
        from sqlalchemy import create_engine

        base = f"postgresql+psycopg2://ironclad@/{{}}?host={postgres_server}"
        admin = create_engine(base.format("postgres"), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text("CREATE DATABASE other"))
        yield base.format("other")
        with admin.connect() as connection:
            connection.execute(text("DROP DATABASE other WITH (FORCE)"))
        admin.dispose()

    return make


def test_a_dump_comes_back_the_same_in_either_database(ledger: Ledger, url: str, other_url: str) -> None:
    """GLOBAL-003: also the way from SQLite to Postgres and back."""
    fill(ledger)
    other = Ledger(other_url)
    facts = other.dump.load(io.BytesIO(dumped(ledger)))
    assert facts.rows["songs"] == 3
    assert all_rows(other_url) == all_rows(url)
    again = add_song(other, 9)
    assert other.history(again), "the database counts on after the rows that came"
    other.close()


def test_a_dump_is_of_one_moment(ledger: Ledger, url: str) -> None:
    """Promise 18: rows written while the dump is made are in it whole or not at all."""

    class Interrupting(io.BytesIO):
        def write(self, line: bytes) -> int:  # type: ignore[override]
            if b'"table":"jobs"' in line:
                add_song(ledger, 77)
            return super().write(line)

    add_song(ledger, 1)
    stream = Interrupting()
    facts = ledger.dump.write(stream)
    assert {table: facts.rows[table] for table in ("songs", "jobs", "history")} == {"songs": 1, "jobs": 1, "history": 1}
    assert len(ledger.jobs()) == 2


@pytest.mark.parametrize("version", ["0001", "0002", "0003", "0004"])
def test_a_dump_of_an_earlier_schema_is_migrated(url: str, other_url: str, version: str) -> None:
    """Promise 19."""
    ledger, other = Ledger(url), Ledger(other_url)
    ledger.migrate()
    job_uuid = add_song(ledger)
    expected = (ledger.job(job_uuid), ledger.history(job_uuid))
    schema.migrate(Database(url), to=version)
    other.dump.load(io.BytesIO(dumped(ledger)))
    other.check_schema()
    assert (other.job(job_uuid), other.history(job_uuid)) == expected
    other.dump.load(io.BytesIO(dumped(ledger)))  # as a restore does that was interrupted after it
    ledger.close()
    other.close()


def test_loading_again_changes_nothing_and_other_rows_are_never_mixed(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger)
    other_url = f"sqlite:///{tmp_path / 'other.db'}"
    other = Ledger(other_url)
    content = dumped(ledger)
    other.dump.load(io.BytesIO(content))
    before = all_rows(other_url)
    other.dump.load(io.BytesIO(content))
    assert all_rows(other_url) == before
    add_song(other, 50)
    with pytest.raises(IroncladError) as caught:
        other.dump.load(io.BytesIO(content))
    assert caught.value.code is ErrorCode.HOME_IN_USE
    other.close()


def test_a_dump_that_is_cut_or_changed_leaves_no_rows(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger)
    content = dumped(ledger)
    lines = content.splitlines(keepends=True)
    row = next(number for number, line in enumerate(lines) if line.startswith(b"["))
    one_less = b"".join(lines[:row] + lines[row + 1 :])
    for number, broken in enumerate(
        [b"", content[:-1][: len(content) // 2], b"".join(lines[:-1]), one_less, b"x" + content]
    ):
        other = Ledger(f"sqlite:///{tmp_path / f'other-{number}.db'}")
        with pytest.raises(IroncladError) as caught:
            other.dump.load(io.BytesIO(broken))
        assert caught.value.code is ErrorCode.BACKUP_DAMAGED
        other.migrate()
        assert other.jobs() == []
        other.close()


def test_a_dump_of_a_newer_release_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    other = Ledger(f"sqlite:///{tmp_path / 'other.db'}")
    content = dumped(ledger).replace(f'"schema":"{schema.HEAD}"'.encode(), b'"schema":"9999"')
    with pytest.raises(IroncladError, match="9999") as caught:
        other.dump.load(io.BytesIO(content))
    assert caught.value.code is ErrorCode.SCHEMA_MISMATCH
