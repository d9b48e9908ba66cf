"""Ledgers to test with: SQLite always, Postgres where its programs and a driver are installed."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.job import JobError, SongIdentity
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.worker import WorkerIdentity, current_worker

PLACES = (Path("/usr/lib/postgresql/15/bin"), Path("/usr/lib/postgresql/16/bin"), Path("/usr/lib/postgresql/17/bin"))
DEAD = WorkerIdentity(host=current_worker().host, boot_id="another boot", pid=1, started_ticks=1)
ERROR = JobError(code="not_audio", detail="a zip", remedy="upload audio", stage="validated_file")


def make_song(number: int = 1, *, user_id: str = "ada") -> SongIdentity:
    return SongIdentity(
        song=f"s{number}",
        user_id=user_id,
        original_name=f"song {number}.mp3",
        sha256=f"{number:064x}",
        size_bytes=100 + number,
        archive_path=f"archive/{number}",
        uploaded_at="2026-01-01T00:00:00.000000+00:00",
        door="test",
    )


def add_song(ledger: Ledger, number: int = 1, *, user_id: str = "ada", priority: int = 0) -> str:
    """Register a song and return the id of its job."""
    song = make_song(number, user_id=user_id)
    return ledger.register(song, JobOptions(), actor="test", priority=priority).job.job_uuid


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The folder of the socket of a Postgres that lives as long as the tests."""
    programs = next((place for place in PLACES if (place / "initdb").exists()), None)
    if programs is None or find_spec("psycopg2") is None:
        pytest.skip("Postgres or psycopg2 is not installed")
    user = "postgres" if os.getuid() == 0 else None
    if user is not None and "postgres" not in {entry.pw_name for entry in pwd.getpwall()}:
        pytest.skip("there is no user that Postgres may run as")
    folder = Path("/tmp") / f"ironclad-postgres-{os.getpid()}"  # short: a socket's path has 107 characters
    folder.mkdir(mode=0o700)
    if user is not None:
        shutil.chown(folder, user)
    data = folder / "data"

    def call(*command: str) -> None:
        subprocess.run(command, user=user, check=True, timeout=60, cwd="/", stdout=subprocess.DEVNULL)

    call(str(programs / "initdb"), "-D", str(data), "-U", "ironclad", "-A", "trust", "--no-sync")
    options = f"-k {folder} -c listen_addresses= -c fsync=off"
    call(str(programs / "pg_ctl"), "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start")
    yield str(folder)
    call(str(programs / "pg_ctl"), "-D", str(data), "-w", "-m", "immediate", "stop")
    shutil.rmtree(folder)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of an empty database."""
    from sqlalchemy import create_engine, text

    base = f"postgresql+psycopg2://ironclad@/{{}}?host={postgres_server}"
    admin = create_engine(base.format("postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE ledger"))
    yield base.format("ledger")
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE ledger WITH (FORCE)"))
    admin.dispose()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without a ledger, of each kind."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """An empty ledger."""
    ledger = Ledger(url)
    ledger.migrate()
    yield ledger
    ledger.close()
