"""A real Postgres on a socket of its own, for tests that name its fixtures; they skip where it is not installed."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

PLACES = (Path("/usr/lib/postgresql/15/bin"), Path("/usr/lib/postgresql/16/bin"), Path("/usr/lib/postgresql/17/bin"))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
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
