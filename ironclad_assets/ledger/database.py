"""Connections and transactions: the one place that knows which database stands behind the ledger.

Everything said in a dialect of its own (pragmas, locks, error texts) is here; the rest of the ledger is
plain SQLAlchemy. SQLite runs in WAL mode with every commit synced, and a writer takes its lock when it
begins, so that many processes wait for each other instead of failing. On Postgres writers run side by side: what
must be one reads rows `with_for_update`, or takes the lock of a name (`take_turns`). How a server is connected to
is `postgres`'s.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.pool import QueuePool, StaticPool

from ironclad_assets.errors import ErrorCode, IroncladError, StorageUnavailable, TransientFailure
from ironclad_assets.ledger import postgres
from ironclad_assets.settings import name_driver
from ironclad_assets.storage.atomic import make_folder

BUSY_TIMEOUT_MS = 30_000

SERVER_KEPT = 5
SERVER_MOST = 10
"""Connections of one process to a server: those that stay open, and the most at one time."""

SERVER_STATEMENT_S = 60.0

_WRITE = "ironclad_write"
_MIGRATION_LOCK = 0x49524F4E  # any constant: names the advisory lock on Postgres
_STORAGE_TEXTS = {
    "disk is full": ErrorCode.STORAGE_FULL,
    "readonly database": ErrorCode.STORAGE_READ_ONLY,
    "disk i/o error": ErrorCode.STORAGE_AWAY,
}


class Database:
    """A lazily opened, fork-safe connection pool for one URL."""

    def __init__(self, url: str) -> None:
        self.url = make_url(name_driver(url))
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._pid = 0
        self._inherited: list[Engine] = []

    @property
    def file(self) -> Path | None:
        """The SQLite file, or None for a server or a database in memory."""
        if self.url.get_backend_name() != "sqlite" or self.url.database in (None, "", ":memory:"):
            return None
        return Path(str(self.url.database))

    @property
    def place(self) -> str:
        """Where the database is, without its password."""
        return str(self.file or self.url.render_as_string(hide_password=True))

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that only reads: one consistent view."""
        with self._translated(), self._connect(self._open()) as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Open a transaction whose every question is answered as of one moment, however long it takes."""
        options = {} if self.url.get_backend_name() == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        with self._translated(), self._connect(self._open()) as connection:
            yield connection.execution_options(**options)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that writes; it commits at the end of the block, or leaves no trace."""
        engine = self._open().execution_options(**{_WRITE: True})
        with self._translated(), self._connect(engine) as connection, connection.begin():
            yield connection

    @contextmanager
    def create(self) -> Iterator[Connection]:
        """Open a writing transaction for migrations: makes the file if missing, one migrator at a time."""
        if self.file is not None:
            make_folder(self.file.parent)
            with self._translated():
                _make_wal_file(self.file)
        with self.write() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SET LOCAL statement_timeout = 0"))
                connection.execute(text("SET LOCAL lock_timeout = 0"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
            yield connection

    def close(self) -> None:
        """Close this process's pooled connections."""
        with self._lock:
            if self._engine is not None and self._pid == os.getpid():
                self._engine.dispose()
                self._engine = None

    def _connect(self, engine: Engine) -> Connection:
        return engine.connect() if self.url.get_backend_name() == "sqlite" else postgres.connect(engine)

    def _open(self) -> Engine:
        with self._lock:
            if self._engine is None or self._pid != os.getpid():
                if self._engine is not None:
                    # A connection made before a fork must be neither used nor closed here: closing it
                    # would run SQLite's clean-up of a file that the parent still has open.
                    self._inherited.append(self._engine)
                self._engine, self._pid = self._make_engine(), os.getpid()
            return self._engine

    def _make_engine(self) -> Engine:
        if self.url.get_backend_name() != "sqlite":
            url = self.url.render_as_string(hide_password=False)
            return postgres.make_engine(url, kept=SERVER_KEPT, most=SERVER_MOST, statement_timeout_s=SERVER_STATEMENT_S)
        file = self.file
        if file is None:
            engine = create_engine(
                self.url, poolclass=StaticPool, creator=lambda: _tune(sqlite3.connect(":memory:", **_SQLITE))
            )
        else:
            # mode=rw: looking at a ledger that is not there must not make an empty one.
            location = f"{file.absolute().as_uri()}?mode=rw"
            engine = create_engine(
                self.url,
                poolclass=QueuePool,
                pool_size=2,
                max_overflow=16,
                creator=lambda: _tune(sqlite3.connect(location, uri=True, **_SQLITE)),
            )
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn a database's own complaint into the published error that it means."""
        try:
            yield
        except PoolExhausted as error:
            raise StorageUnavailable(
                f"all {SERVER_MOST} connections of this process to {self.place} are in use", code=ErrorCode.STORAGE_AWAY
            ) from error
        except (DBAPIError, sqlite3.Error) as error:
            published = self._published(error)
            if published is None:
                raise
            raise published from error

    def _published(self, error: DBAPIError | sqlite3.Error) -> IroncladError | None:
        said = " ".join(str(getattr(error, "orig", error)).lower().split())
        for phrase, code in _STORAGE_TEXTS.items():
            if phrase in said:
                return StorageUnavailable(f"{self.place}: {said}", code=code)
        if "fatal: database " in said and "does not exist" in said:
            return StorageUnavailable(
                f"the server of {self.place} has no such database; create it with createdb", code=ErrorCode.STORAGE_AWAY
            )
        if "no such table" in said or "does not exist" in said or "unable to open database file" in said:
            return TransientFailure(f"there is no ledger at {self.place}", code=ErrorCode.SCHEMA_MISMATCH)
        if isinstance(error, (OperationalError, sqlite3.OperationalError)):
            return StorageUnavailable(
                f"the ledger at {self.place} does not answer: {said}", code=ErrorCode.STORAGE_AWAY
            )
        return None


def take_turns(connection: Connection, subject: str) -> None:
    """Keep other writers of `subject`, any text, out until this writing transaction ends.

    For a check and what follows from it where there is no row to lock yet. On SQLite writers take turns anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:subject, 0))"), {"subject": subject})


# Any: keyword arguments of sqlite3.connect have as many types as names.
_SQLITE: dict[str, Any] = {"check_same_thread": False, "isolation_level": None, "timeout": BUSY_TIMEOUT_MS / 1000}


def _tune(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def _make_wal_file(file: Path) -> None:
    """Create the SQLite file in WAL mode, which stays with the file."""
    connection = sqlite3.connect(file, **_SQLITE)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()


def _begin_sqlite(connection: Connection) -> None:
    """Begin at once as a writer, or lazily as a reader: a reader that turns writer could deadlock."""
    immediate = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
