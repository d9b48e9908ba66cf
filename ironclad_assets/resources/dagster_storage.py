"""Dagster's SQLite storage with its connections kept open: what `dagster.yaml` names as the instance's storage.

Stock Dagster makes an engine and a connection for every event, and looks through its migrations for every run's
own database. Files, tables and their content are the same here, so a home can be used with either. A power cut
may take the last events with it (never a database): the reconciler goes by the ledger, which syncs every commit.
"""

import os
import secrets
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dagster._config import StringSource
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy.pool import QueuePool

MOST_SHARDS = 8
"""Databases of single runs that stay open in one process; a run's own process needs one."""


class PooledSqliteStorage(DagsterSqliteStorage):
    """Runs, events and ticks below one folder, as `DagsterSqliteStorage` keeps them."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        base = Path(base_dir)
        self.base_dir = base_dir
        self._run_storage = PooledRunStorage.from_local(str(base / "history"))
        self._event_log_storage = PooledEventLogStorage(str(base / "history" / "runs"))
        self._schedule_storage = PooledScheduleStorage.from_local(str(base / "schedules"))
        self._inst_data = inst_data
        super(DagsterSqliteStorage, self).__init__()  # type: ignore[no-untyped-call] # Dagster's base is not typed

    @classmethod
    def config_type(cls) -> dict[str, Any]:  # Dagster's own way to describe a configuration
        return {"base_dir": StringSource}

    @classmethod
    def from_config_value(  # type: ignore[override] # Dagster's own class narrows it the same way
        cls, inst_data: ConfigurableClassData | None, config_value: dict[str, str]
    ) -> "PooledSqliteStorage":
        return cls.from_local(inst_data=inst_data, **config_value)


class _OneEngine:
    """Keeps the connection to the one database of a storage."""

    _conn_string: str

    @cached_property
    def _engine(self) -> sa.Engine:
        return _open_engine(self._conn_string)

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        with self._engine.begin() as connection:
            yield connection

    def dispose(self) -> None:
        self._engine.dispose()


class PooledRunStorage(_OneEngine, SqliteRunStorage):
    """The table of runs."""

    @classmethod
    def from_local(cls, base_dir: str, inst_data: ConfigurableClassData | None = None) -> "PooledRunStorage":
        database = Path(base_dir).absolute() / "runs.db"
        if is_initialised(database):
            return cls(f"sqlite:///{database}", inst_data)
        return super().from_local(base_dir, inst_data)


class PooledScheduleStorage(_OneEngine, SqliteScheduleStorage):
    """The table of sensor ticks."""

    @classmethod
    def from_local(cls, base_dir: str, inst_data: ConfigurableClassData | None = None) -> SqliteScheduleStorage:
        database = Path(base_dir).absolute() / "schedules.db"
        if is_initialised(database):
            return cls(f"sqlite:///{database}", inst_data)
        return super().from_local(base_dir, inst_data)


class PooledEventLogStorage(SqliteEventLogStorage):
    """The events: one database for each run, and an index over all."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, sa.Engine] = OrderedDict()
        self._engines_lock = threading.Lock()
        self._empty_shard: bytes | None = None
        super().__init__(base_dir, inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[sa.Connection]:
        with self._db_lock, self._engine_of(shard).begin() as connection:
            yield connection

    def _engine_of(self, shard: str) -> sa.Engine:
        with self._engines_lock:
            engine = self._engines.get(shard)
            if engine is None or shard not in self._initialized_dbs:
                self._require_shard(Path(self.path_for_shard(shard)))
                engine = self._engines[shard] = _open_engine(self.conn_string_for_shard(shard))
                self._initialized_dbs.add(shard)
            self._engines.move_to_end(shard)
            closable = [name for name in self._engines if name != INDEX_SHARD_NAME]
            for name in closable[:-MOST_SHARDS]:
                self._engines.pop(name).dispose()
            return engine

    def _require_shard(self, database: Path) -> None:
        """Create the database of a run where it is missing; every one after the first is a copy of an empty one."""
        if is_initialised(database):
            return
        if self._empty_shard is None or database.exists():
            engine = _open_engine(f"sqlite:///{database}")
            self._initdb(engine)
            engine.dispose()
            with closing(sqlite3.connect(database)) as connection:
                self._empty_shard = connection.serialize()
            return
        copy = database.with_name(f"{database.name}.{secrets.token_hex(8)}.new")
        copy.write_bytes(self._empty_shard)
        with suppress(FileExistsError):  # another process was first
            os.link(copy, database)
        copy.unlink()

    def dispose(self) -> None:
        super().dispose()
        with self._engines_lock:
            while self._engines:
                self._engines.popitem()[1].dispose()


def is_initialised(database: Path) -> bool:
    """Return whether a database of Dagster exists with its tables, whatever version they have."""
    if not database.exists():
        return False
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=SQLITE_BUSY_TIMEOUT_SECONDS)) as one:
        try:
            return one.execute("SELECT 1 FROM alembic_version").fetchone() is not None
        except sqlite3.OperationalError:
            return False


def _open_engine(url: str) -> sa.Engine:
    """Return an engine that keeps one connection open, and opens more while several threads need them."""
    engine = sa.create_engine(
        url,
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=-1,
        connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS},
    )
    sa.event.listen(engine, "connect", _sync_at_checkpoints)
    return engine


def _sync_at_checkpoints(connection: sqlite3.Connection, record: object) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")
