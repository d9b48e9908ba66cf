"""Upgrades: a copy before, old or new after a kill, and a way back."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from sqlalchemy import text
from typer.testing import CliRunner

from ironclad_assets.cli.main import build_app
from ironclad_assets.errors import ErrorCode, IroncladError
from ironclad_assets.ledger import schema
from ironclad_assets.ledger.database import Database
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.settings import Settings
from ironclad_assets.upkeep.backup.journal import JOURNAL
from ironclad_assets.upkeep.upgrades import KEPT, import_ledger, migrate_ledger
from tests.unit.ledger.conftest import add_song

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "1"))

KILLED = """
import os, signal, sys
from sqlalchemy import Engine, event
from ironclad_assets.ledger import schema
from ironclad_assets.ledger.database import Database

url, left, to = sys.argv[1], int(sys.argv[2]), sys.argv[3]

def count(*_):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

event.listen(Engine, "before_cursor_execute", count)
schema.migrate(Database(url), to=to)
"""


@pytest.fixture(params=["sqlite", "postgres"])
def upgraded(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """An installation whose ledger is of the schema before this one, with a song; on each database."""
    url = str(request.getfixturevalue("postgres_url")) if request.param == "postgres" else None
    settings = Settings(home=tmp_path / "home", database_url=url)
    settings.home_dir.mkdir()
    ledger = Ledger(settings.ledger_url)
    ledger.migrate()
    add_song(ledger)
    ledger.migrate(to="0002")
    ledger.close()
    return settings


def version(settings: Settings) -> str | None:
    database = Database(settings.ledger_url)
    try:
        return schema.find_version(database)
    finally:
        database.close()


def test_a_copy_of_the_ledger_is_kept_before_it_is_migrated(upgraded: Settings, tmp_path: Path) -> None:
    """Promise 19: what `up` does by itself; the copy is of the old schema and can be loaded."""
    copy = migrate_ledger(upgraded)
    assert version(upgraded) == schema.HEAD
    assert copy is not None
    assert copy.parent == upgraded.home_dir / "upgrades"
    assert json.loads(copy.read_bytes().splitlines()[0])["schema"] == "0002"
    other = Ledger(f"sqlite:///{tmp_path / 'other.db'}")
    assert import_ledger(other, copy)["songs"] == 1
    other.check_schema()
    other.close()
    assert migrate_ledger(upgraded) is None, "nothing to do, nothing kept"


def test_the_newest_copies_are_kept(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    settings.home_dir.mkdir()
    assert migrate_ledger(settings) is None, "a new ledger needs no copy"
    kept = [migrate_ledger(settings, to="0002" if number % 2 else schema.HEAD) for number in range(1, KEPT + 4)]
    assert sorted((settings.home_dir / "upgrades").iterdir()) == sorted(path for path in kept[-KEPT:] if path)


def test_nothing_is_migrated_where_no_copy_can_be_kept(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    settings.home_dir.mkdir()
    migrate_ledger(settings, to="0002")
    (settings.home_dir / "upgrades").write_text("in the way")
    with pytest.raises((IroncladError, OSError)):
        migrate_ledger(settings)
    assert version(settings) == "0002"


def kill_at(settings: Settings, *, statement: int, to: str) -> bool:
    """Migrate and kill at the n-th statement; return whether it came to that."""
    command = [sys.executable, "-c", KILLED, settings.ledger_url, str(statement), to]
    done = subprocess.run(command, timeout=120, check=False, capture_output=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode != 0


def assert_old_or_new(settings: Settings) -> None:
    found = version(settings)
    assert found in ("0002", schema.HEAD)
    database = Database(settings.ledger_url)
    with database.read() as connection:
        columns = {"0002": "song, resolved", schema.HEAD: "song, resolved, request_id, not_before"}[str(found)]
        assert connection.execute(text(f"SELECT {columns} FROM jobs")).one().song == "s1"
        new = connection.execute(text("SELECT count(*) FROM tombstones")).scalar() if found == schema.HEAD else 0
        assert new == 0
    database.close()


def test_a_migration_that_is_killed_leaves_the_old_schema_or_the_new(upgraded: Settings) -> None:
    """Promise 19, on both databases; `make chaos` kills at every statement, up and down."""
    for statement in (12,):
        assert kill_at(upgraded, statement=statement, to=schema.HEAD)
        assert_old_or_new(upgraded)
    migrate_ledger(upgraded)
    assert version(upgraded) == schema.HEAD


@pytest.mark.chaos
@pytest.mark.long
def test_a_migration_killed_at_every_statement_leaves_old_or_new(upgraded: Settings) -> None:
    """Promise 19."""
    kills = 0
    for to in (schema.HEAD, "0002"):
        statement = 0
        while kill_at(upgraded, statement=statement, to=to):
            assert_old_or_new(upgraded)
            kills += 1
            statement += 1
        assert version(upgraded) == to
    sys.stdout.write(f"\n{kills} kills of migrations\n")
    assert kills > 20


def test_migrate_goes_forward_and_back_by_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OPS-001: rollback of an upgrade."""
    monkeypatch.setenv("IRONCLAD_HOME", str(tmp_path / "home"))
    settings = Settings()
    settings.home_dir.mkdir()
    migrate_ledger(settings)
    runner, app = CliRunner(), build_app()
    back = runner.invoke(app, ["migrate", "--to", "0002", "--json"])
    assert back.exit_code == 0, back.output
    assert Path(json.loads(back.stdout)["copy"]).is_file()
    assert runner.invoke(app, ["status"]).exit_code == 5
    unknown = runner.invoke(app, ["migrate", "--to", "0099"])
    assert unknown.exit_code == 4
    assert unknown.output.startswith("bad_option: '0099' is no schema version of this release, only 0001, 0002, ")
    assert unknown.output.endswith(f", {schema.HEAD}; correct the value named in the message\n")
    with FileLock(settings.home_dir / "run" / "supervisor.lock"):
        running = runner.invoke(app, ["migrate"])
        assert (running.exit_code, running.output.count("stop it")) == (5, 1)
    assert runner.invoke(app, ["migrate"]).exit_code == 0
    assert version(settings) == schema.HEAD


@pytest.mark.parametrize("command", [["migrate"], ["ledger", "import", "FILE"]])
def test_ledger_that_is_still_to_be_restored_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    """With tables of this release, the ledger of an earlier one could not be restored into it any more."""
    monkeypatch.setenv("IRONCLAD_HOME", str(tmp_path / "home"))
    settings = Settings()
    settings.home_dir.mkdir()
    (settings.home_dir / JOURNAL).write_text("{}")
    file = tmp_path / "ledger.jsonl"
    file.write_bytes(b"")
    refused = CliRunner().invoke(build_app(), [str(file) if word == "FILE" else word for word in command])
    assert (refused.exit_code, "home_in_use" in refused.output) == (4, True)
    assert version(settings) is None


def test_a_ledger_of_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    settings.home_dir.mkdir()
    migrate_ledger(settings)
    database = Database(settings.ledger_url)
    with database.write() as connection:
        connection.execute(text("UPDATE ledger_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(IroncladError) as caught:
        migrate_ledger(settings)
    assert caught.value.code is ErrorCode.SCHEMA_MISMATCH
