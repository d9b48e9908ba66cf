"""The ledger's schema: made, taken back, checked, refused."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, select, text

from ironclad_assets.errors import ErrorCode, StorageUnavailable, TransientFailure
from ironclad_assets.ledger import schema
from ironclad_assets.ledger.database import Database
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.tables import forgotten_songs, metadata
from tests.unit.ledger.conftest import add_song


def test_migrations_make_exactly_the_tables_that_the_code_uses(url: str) -> None:
    """QUEUE-001."""
    database = Database(url)
    schema.migrate(database)
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": schema.VERSION_TABLE})
        assert compare_metadata(context, metadata) == []
    database.close()


def test_migrations_go_up_down_and_up_again(url: str) -> None:
    """QUEUE-001."""
    database = Database(url)
    schema.migrate(database)
    schema.migrate(database, to="base")
    with pytest.raises(TransientFailure, match="has no tables yet") as caught:
        schema.check_schema(database)
    assert caught.value.code is ErrorCode.SCHEMA_MISMATCH
    schema.migrate(database)
    schema.check_schema(database)
    database.close()


@pytest.mark.parametrize("version", ["0001", "0002", "0003", "0004"])
def test_an_earlier_schema_with_data_comes_up_and_goes_back(url: str, version: str) -> None:
    """QUEUE-001: jobs, songs and history are the same before and after, whichever way."""
    ledger, database = Ledger(url), Database(url)
    ledger.migrate()
    job_uuid = add_song(ledger)
    before = (ledger.job(job_uuid), ledger.history(job_uuid))
    schema.migrate(database, to=version)
    with pytest.raises(TransientFailure, match=f"schema version {version}, this release needs {schema.HEAD}"):
        ledger.check_schema()
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM jobs")).scalar() == 1
    ledger.migrate()
    assert (ledger.job(job_uuid), ledger.history(job_uuid)) == before
    ledger.close()
    database.close()


def test_what_deleted_songs_took_of_their_users_day_comes_up_and_goes_back(url: str) -> None:
    """QUEUE-001: a share that only the newer schema can tell is not counted by the older one as something else."""
    now, yesterday, earlier = (
        (datetime.now(UTC) - timedelta(hours=hours)).isoformat(timespec="microseconds") for hours in (0, 25, 1)
    )
    database = Database(url)
    schema.migrate(database, to="0004")
    with database.write() as connection:
        connection.execute(
            text("INSERT INTO forgotten_songs (user_id, uploaded_at, seconds) VALUES ('ada', :at, 600)"), {"at": now}
        )
    schema.migrate(database)
    columns = ("user_id", "uploaded_at", "seconds", "minutes_at", "taken_in", "worked_at", "worked_seconds")
    with database.write() as connection:
        assert connection.execute(select(*(forgotten_songs.c[name] for name in columns))).all() == [
            ("ada", now, 600.0, now, True, None, 0.0)
        ]
        for row in (
            ("bob", yesterday, 60.0, earlier, True, now, 60.0),
            ("eve", now, 0.0, now, False, None, 0.0),
            ("kim", earlier, 30.0, now, True, now, 30.0),
        ):
            connection.execute(insert(forgotten_songs).values(dict(zip(columns, row, strict=True))))
    schema.migrate(database, to="0004")
    with database.read() as connection:
        left = connection.execute(text("SELECT user_id, uploaded_at, seconds FROM forgotten_songs ORDER BY user_id"))
        assert left.all() == [("ada", now, 600.0), ("bob", earlier, 60.0), ("kim", earlier, 30.0)]
    schema.migrate(database)
    schema.check_schema(database)
    database.close()


def test_migrating_again_keeps_what_is_there(ledger: Ledger) -> None:
    job_uuid = add_song(ledger)
    ledger.migrate()
    assert ledger.job(job_uuid).song == "s1"


def test_a_ledger_of_a_newer_release_is_refused_and_left_alone(url: str) -> None:
    database = Database(url)
    schema.migrate(database)
    with database.write() as connection:
        connection.execute(text("UPDATE ledger_version SET version_num = '9999'"))
    for question in (schema.migrate, schema.check_schema):
        with pytest.raises(TransientFailure, match="schema version 9999") as caught:
            question(database)
        assert caught.value.code is ErrorCode.SCHEMA_MISMATCH
    database.close()


def test_a_migration_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic import op

    original = op.create_index

    def fail_late(name: str, *args: object, **options: object) -> None:
        if name == "jobs_user":
            raise RuntimeError("power cut")
        original(name, *args, **options)

    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    with monkeypatch.context() as patch:
        patch.setattr(op, "create_index", fail_late)
        with pytest.raises(RuntimeError, match="power cut"):
            schema.migrate(database)
    with pytest.raises(TransientFailure, match="has no tables yet"):
        schema.check_schema(database)
    schema.migrate(database)
    database.close()


def test_head_is_the_newest_migration() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


def test_looking_at_a_ledger_that_is_not_there_says_so_and_makes_none(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    with pytest.raises(TransientFailure, match="no ledger at") as caught:
        Ledger(f"sqlite:///{file}").check_schema()
    assert caught.value.code is ErrorCode.SCHEMA_MISMATCH
    assert not file.exists()


def test_sqlite_runs_in_wal_mode_with_every_commit_synced(tmp_path: Path) -> None:
    """QUEUE-001: an acknowledged row survives a power cut."""
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    schema.migrate(database)
    with database.read() as connection:
        pragmas = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    database.close()
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}


def test_a_ledger_in_memory_works(tmp_path: Path) -> None:
    ledger = Ledger("sqlite://")
    ledger.migrate()
    assert ledger.job(add_song(ledger)).song == "s1"
    ledger.close()


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("database or disk is full", ErrorCode.STORAGE_FULL),
        ("attempt to write a readonly database", ErrorCode.STORAGE_READ_ONLY),
        ("disk I/O error", ErrorCode.STORAGE_AWAY),
        ("database is locked", ErrorCode.STORAGE_AWAY),
    ],
)
def test_a_database_that_cannot_write_is_told_as_storage(tmp_path: Path, said: str, code: ErrorCode) -> None:
    import sqlite3

    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    schema.migrate(database)
    with pytest.raises(StorageUnavailable) as caught, database.write():
        raise sqlite3.OperationalError(said)
    database.close()
    assert caught.value.code is code


def test_a_password_is_never_part_of_what_is_said() -> None:
    assert "secret" not in Database("postgresql+psycopg2://me:secret@db/ledger").place
