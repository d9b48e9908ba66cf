"""A real Postgres on a socket of its own, for tests that name its fixtures; they skip where it is not installed."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import pytest

PLACES = (Path("/usr/lib/postgresql/15/bin"), Path("/usr/lib/postgresql/16/bin"), Path("/usr/lib/postgresql/17/bin"))


class PostgresServer:
    """One server with a folder, a log and nothing else; it listens on a socket in its folder alone."""

    def __init__(self, name: str, *, settings: str = "-c fsync=off") -> None:
        """Make the folder and its empty cluster, or skip the test where this machine cannot run a Postgres."""
        programs = next((place for place in PLACES if (place / "initdb").exists()), None)
        if programs is None or find_spec("psycopg2") is None:
            pytest.skip("Postgres or psycopg2 is not installed")
        self._user = "postgres" if os.getuid() == 0 else None
        if self._user is not None and "postgres" not in {entry.pw_name for entry in pwd.getpwall()}:
            pytest.skip("there is no user that Postgres may run as")
        self._programs = programs
        self._settings = settings
        self.folder = Path("/tmp") / f"ironclad-{name}-{os.getpid()}"  # short: a socket's path has 107 characters
        self.folder.mkdir(mode=0o700)
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self._call("initdb", "-U", "ironclad", "-A", "trust", "--no-sync")

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        options = f"-k {self.folder} -c listen_addresses= {self._settings}"
        self._call("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "immediate") -> None:
        """End the server; `immediate` is a crash of all its processes, mended when it starts again."""
        self._call("pg_ctl", "-w", "-m", mode, "stop")

    def remove(self) -> None:
        if (self.folder / "data" / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder)

    def url(self, database: str, *, password: str = "", user: str = "ironclad") -> str:
        secret = f":{quote(password)}" if password else ""
        return f"postgresql+psycopg2://{user}{secret}@/{database}?host={self.folder}"

    def create_database(self, name: str) -> None:
        self.execute(f'CREATE DATABASE "{name}"')

    def execute(self, statement: str, *, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run one statement outside of any transaction and return its rows."""
        from sqlalchemy import create_engine, text
        from sqlalchemy.pool import NullPool

        engine = create_engine(self.url(database), isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with engine.connect() as connection:
            done = connection.execute(text(statement))
            return [tuple(row) for row in done] if done.returns_rows else []

    def _call(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), "-D", str(self.folder / "data"), *arguments]
        subprocess.run(command, user=self._user, check=True, timeout=60, cwd="/", stdout=subprocess.DEVNULL)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The folder of the socket of a Postgres that lives as long as the tests."""
    server = PostgresServer("postgres")
    server.start()
    yield str(server.folder)
    server.remove()


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


@pytest.fixture
def make_postgres() -> Iterator[Callable[..., PostgresServer]]:
    """Start servers of the test's own, which it may stop and start again; with settings such as `-c name=value`."""
    made: list[PostgresServer] = []

    def make(settings: str = "-c fsync=off") -> PostgresServer:
        server = PostgresServer(f"pg{len(made)}", settings=settings)
        made.append(server)
        server.start()
        return server

    yield make
    for server in made:
        server.remove()
