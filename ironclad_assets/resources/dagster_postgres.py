"""Dagster's Postgres storage over two small pools per process: what `deploy/postgres/dagster.yaml` names.

Stock Dagster opens a connection for every event and looks at its tables each time a storage is made. Tables and
their content are the same here, in a schema of their own beside the ledger's, whose `jobs` is not Dagster's. A
server that goes away is waited for, so that a run goes on where it was. Events, the many, are not waited for until
they are on disk: a crash of the server may take the last of a run, never its state, which is synced.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from dagster._config import StringSource
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.dagster_run import DagsterRunStatus
from dagster._core.storage.runs.schema import RunsTable
from dagster._serdes import ConfigurableClassData
from dagster._time import get_current_datetime
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.schedule_storage import PostgresScheduleStorage

from ironclad_assets.ledger.postgres import SERVER_PATIENCE_S, insist, make_engine
from ironclad_assets.resources.machines import BEAT_S, HOST_TAG
from ironclad_assets.settings import name_driver

SCHEMA = "dagster"
MOST = 8
"""Connections of one pool, opened when that many are needed at once and then kept; a run's own process needs one."""

STATEMENT_TIMEOUT_S = 600.0
PATIENCE_OF_PAGES_S = 3.0
"""The same for the web page: who looks at it wants to be told."""

MOST_TRIES = 3

_BEATING = (DagsterRunStatus.STARTED.value, DagsterRunStatus.CANCELING.value)
_CREATION_LOCK = 0x44414753  # any constant: names the advisory lock under which the tables are made
_TABLES = ("runs", "event_logs", "jobs", "instance_info")

_pools: dict[tuple[int, str, bool], "Pool"] = {}
_pools_lock = threading.Lock()


class LastingConnection(sa.Connection):
    """A connection in which every statement is a transaction, and a SELECT survives that the server goes away.

    Dagster asks while a run goes on, and takes a question without answer for the run's own failure. What is written is
    not tried again here: whether it was written nobody knows. Nor is what belongs to a transaction of several
    statements, for which Dagster names another isolation level: the first of them were lost.
    """

    def __init__(self, engine: sa.Engine, *, patience_s: float) -> None:
        super().__init__(engine)
        self._patience_s = patience_s

    def execute(self, statement: Any, *others: Any, **options: Any) -> Any:  # noqa: ANN401 - as its base
        """Execute `statement`; where the connection broke meanwhile, a SELECT again over another."""
        try:
            return super().execute(statement, *others, **options)
        except sa.exc.DBAPIError:
            lost_more = "isolation_level" in self.get_execution_options()
            if not self.invalidated or lost_more or not getattr(statement, "is_select", False):
                raise

        def ask_again() -> Any:  # noqa: ANN401 - as its base
            self.rollback()  # after that its next use opens another connection
            return super(LastingConnection, self).execute(statement, *others, **options)

        return insist(ask_again, patience_s=self._patience_s, is_away=lambda error: self.invalidated)


class Pool:
    """Connections of this process to one database, whose commits are synced or not."""

    def __init__(self, url: str, *, synced: bool = True) -> None:
        self.patience_s = SERVER_PATIENCE_S
        self.engine = make_engine(
            url,
            kept=MOST,
            most=MOST,
            statement_timeout_s=STATEMENT_TIMEOUT_S,
            schema=SCHEMA,
            autocommit=True,
            synced=synced,
        )
        self._complete = False

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        """Open a connection in which every statement is a transaction."""
        patience_s = self.patience_s
        with insist(lambda: LastingConnection(self.engine, patience_s=patience_s), patience_s=patience_s) as connection:
            yield connection

    @contextmanager
    def creating(self) -> Iterator[bool]:
        """Yield whether tables are missing, one creator at a time; once they are there that is not asked again."""
        if self._complete or self._has_tables():
            yield False
        else:
            with self.connect() as connection, connection.execution_options(isolation_level="READ COMMITTED").begin():
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CREATION_LOCK})
                missing = not self._has_tables()
                if missing:
                    with self.connect() as other:  # seen by all at once: the storages make tables over the pool
                        other.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
                yield missing
        self._complete = True

    def _has_tables(self) -> bool:
        columns = [sa.func.to_regclass(f"{SCHEMA}.{table}").is_not(None) for table in _TABLES]
        with self.connect() as connection:
            return all(connection.execute(sa.select(*columns)).one())


def pool_of(url: str, *, synced: bool = True) -> Pool:
    """Return this process's only such pool for `url`. One that came through a fork is neither used nor closed."""
    with _pools_lock:
        key = (os.getpid(), url, synced)
        if key not in _pools:
            _pools[key] = Pool(url, synced=synced)
        return _pools[key]


def with_a_living_server(write: Callable[[], None]) -> None:
    """Do `write`, and again where the server went away in the middle of it.

    What a run tells may so be told twice, which harms nothing; told never it would end the run.
    """
    for _ in range(MOST_TRIES - 1):
        try:
            return write()
        except sa.exc.DBAPIError as error:
            if not error.connection_invalidated:
                raise
    return write()


class PooledPostgresStorage(DagsterPostgresStorage):
    """Runs, events and ticks of one database, as `DagsterPostgresStorage` keeps them."""

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        self.postgres_url = postgres_url
        self.should_autocreate_tables = True
        self._inst_data = inst_data
        with pool_of(postgres_url).creating() as missing:
            self._run_storage = PooledRunStorage(postgres_url, missing)
            self._event_log_storage = PooledEventLogStorage(postgres_url, missing)
            self._schedule_storage = PooledScheduleStorage(postgres_url, missing)
        super(DagsterPostgresStorage, self).__init__()  # type: ignore[no-untyped-call] # Dagster's base is not typed

    @classmethod
    def config_type(cls) -> dict[str, Any]:  # Dagster's own way to describe a configuration
        return {"postgres_url": StringSource}

    @classmethod
    def from_config_value(  # type: ignore[override] # Dagster's own class narrows it the same way
        cls, inst_data: ConfigurableClassData | None, config_value: dict[str, str]
    ) -> "PooledPostgresStorage":
        return cls(name_driver(config_value["postgres_url"]), inst_data)


class _Pooled:
    """Sends a storage of Dagster's to a pool of the process, whatever it would connect with itself."""

    postgres_url: str
    _synced = True

    @property
    def _pool(self) -> Pool:
        return pool_of(self.postgres_url, synced=self._synced)

    @property
    def _engine(self) -> sa.Engine:
        return self._pool.engine

    @_engine.setter
    def _engine(self, stock: sa.Engine) -> None:
        stock.dispose()  # Dagster's constructors make one that has not been opened yet

    def optimize_for_webserver(self, statement_timeout: int, pool_recycle: int, max_overflow: int) -> None:
        self._pool.patience_s = PATIENCE_OF_PAGES_S


class PooledRunStorage(_Pooled, PostgresRunStorage):
    """The table of runs."""

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        with self._pool.connect() as connection:
            yield connection

    def handle_run_event(self, run_id: str, event: DagsterEvent, update_timestamp: datetime | None = None) -> None:
        with_a_living_server(lambda: super(PooledRunStorage, self).handle_run_event(run_id, event, update_timestamp))
        if event.event_type is DagsterEventType.RUN_START:  # which the run's own process tells
            with_a_living_server(lambda: self.add_run_tags(run_id, {HOST_TAG: socket.gethostname()}))
            threading.Thread(target=self._beat, args=(run_id,), name=f"beat-{run_id}", daemon=True).start()

    def _beat(self, run_id: str) -> None:
        """Touch the run's row now and then, so that other machines hear of it until it ends."""
        row = (RunsTable.c.run_id == run_id) & RunsTable.c.status.in_(_BEATING)
        alive = True
        while alive:
            time.sleep(BEAT_S)
            with suppress(sa.exc.SQLAlchemyError), self.connect() as connection:
                touched = connection.execute(
                    sa.update(RunsTable).where(row).values(update_timestamp=get_current_datetime())
                )
                alive = touched.rowcount > 0


class PooledEventLogStorage(_Pooled, PostgresEventLogStorage):
    """The events, assets and partitions. Who follows a run asks for new events; nobody listens for notifications."""

    _synced = False

    def store_event(self, event: EventLogEntry) -> None:
        with_a_living_server(lambda: super(PooledEventLogStorage, self).store_event(event))

    @contextmanager
    def _connect(self) -> Iterator[sa.Connection]:
        with self._pool.connect() as connection:
            yield connection


class PooledScheduleStorage(_Pooled, PostgresScheduleStorage):
    """The tables of ticks."""

    @contextmanager
    def connect(self, run_id: str | None = None) -> Iterator[sa.Connection]:
        with self._pool.connect() as connection:
            yield connection
