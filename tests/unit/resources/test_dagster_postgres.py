"""Dagster on Postgres through one pool: the same content as stock, few connections, a schema of its own."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg2
import pytest
import sqlalchemy as sa
from dagster._core.events import DagsterEvent, EngineEventData
from dagster._core.events.log import EventLogEntry
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import DagsterPostgresException

from ironclad_assets.ledger.store import Ledger
from ironclad_assets.resources import dagster_postgres
from ironclad_assets.resources.dagster_postgres import (
    MOST,
    PooledEventLogStorage,
    PooledPostgresStorage,
    PooledRunStorage,
    PooledScheduleStorage,
    pool_of,
    with_a_living_server,
)
from ironclad_assets.resources.machines import HOST_TAG
from tests.fakes.postgres import PostgresServer

CHECKOUT = Path(__file__).resolve().parents[3]
YAML = (CHECKOUT / "deploy" / "postgres" / "dagster.yaml").read_text(encoding="utf-8")
STOCK = "storage: {postgres: {postgres_url: {env: STOCK_URL}}}\ntelemetry: {enabled: false}\n"


@dg.asset
def song() -> int:
    return 1


def entry(run_id: str, *, message: str = "") -> EventLogEntry:
    return EventLogEntry(
        error_info=None,
        level=10,
        user_message="",
        run_id=run_id,
        timestamp=time.time(),
        dagster_event=DagsterEvent(
            "ENGINE_EVENT", "process_song", message=message, event_specific_data=EngineEventData()
        ),
    )


@contextmanager
def instance_of(home: Path, *, yaml: str = YAML) -> Iterator[dg.DagsterInstance]:
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text(yaml, encoding="utf-8")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


@pytest.fixture
def home(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose environment names an empty database, to stock Dagster too."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("IRONCLAD_DATABASE_URL", postgres_url)
    monkeypatch.setenv("STOCK_URL", f"{postgres_url}&options=-csearch_path%3Ddagster")
    return tmp_path / "home"


@pytest.fixture
def connects() -> Iterator[list[str]]:
    seen: list[str] = []

    def note(connection: object, record: object) -> None:
        seen.append(repr(connection))

    sa.event.listen(sa.Engine, "connect", note)
    yield seen
    sa.event.remove(sa.Engine, "connect", note)


@pytest.fixture(autouse=True)
def no_pool_is_left() -> Iterator[None]:
    """Every test has a database of its own under the same name."""
    yield
    while dagster_postgres._pools:
        dagster_postgres._pools.popitem()[1].engine.dispose()


def test_the_instance_of_postgres_is_ours_in_all_parts(home: Path) -> None:
    with instance_of(home) as instance:
        assert isinstance(instance.run_storage, PooledRunStorage)
        assert isinstance(instance.event_log_storage, PooledEventLogStorage)
        assert isinstance(instance.schedule_storage, PooledScheduleStorage)


def test_stock_dagster_reads_what_was_written_and_the_other_way_round(home: Path) -> None:
    for writing, reading in ((YAML, STOCK), (STOCK, YAML)):
        with instance_of(home, yaml=writing) as instance:
            run_id = dg.materialize([song], instance=instance).run_id
            written = [event.message for event in instance.all_logs(run_id)]
        with instance_of(home, yaml=reading) as instance:
            assert [event.message for event in instance.all_logs(run_id)] == written
            assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.SUCCESS
            assert instance.get_latest_materialization_event(song.key).run_id == run_id


def test_tables_of_the_ledger_and_of_dagster_do_not_meet(home: Path, postgres_url: str) -> None:
    """Both have a table `jobs`."""
    ledger = Ledger(postgres_url)
    for _ in range(2):
        ledger.migrate()
        with instance_of(home) as instance:
            instance.upgrade()
            instance.add_dynamic_partitions("songs", ["s1"])
            assert instance.get_dynamic_partitions("songs") == ["s1"]
        ledger.check_schema()
        assert ledger.jobs() == []
    ledger.close()


def test_a_run_needs_one_connection_and_later_ones_none(home: Path, connects: list[str]) -> None:
    """<= 10 connections for each run; stock opens one for every event and more."""
    with instance_of(home) as instance:
        dg.materialize([song], instance=instance)
        connects.clear()
        dg.materialize([song], instance=instance)
        assert connects == []
    with instance_of(home) as instance:  # as every tick of a sensor makes one
        dg.materialize([song], instance=instance)
        assert connects == []


def test_many_threads_share_the_pool(home: Path, postgres_url: str, connects: list[str]) -> None:
    with instance_of(home) as instance, ThreadPoolExecutor(40) as threads:
        connects.clear()
        list(threads.map(lambda number: instance.add_dynamic_partitions("songs", [f"s{number}"]), range(200)))
        assert len(instance.get_dynamic_partitions("songs")) == 200
        assert len(connects) <= MOST, "none is closed to be opened again"
    pool = pool_of(postgres_url, synced=False).engine.pool
    assert isinstance(pool, sa.pool.QueuePool)
    assert pool.checkedout() == 0
    assert 0 < pool.checkedin() <= MOST


def test_machines_may_begin_at_once_on_an_empty_database(home: Path, postgres_url: str) -> None:
    """Each with a pool of its own, as processes have."""
    urls = [f"{postgres_url}&application_name=machine{number}" for number in range(4)]
    with ThreadPoolExecutor(len(urls)) as threads:
        storages = list(threads.map(PooledPostgresStorage, urls))
    for storage in storages:
        storage.event_log_storage.add_dynamic_partitions("songs", ["s1"])
    with instance_of(home) as instance:
        assert instance.get_dynamic_partitions("songs") == ["s1"]
        found, head = instance.run_storage.alembic_version()
        assert found == head


def test_a_fork_leaves_the_connections_of_its_parent_alone(home: Path, postgres_url: str) -> None:
    storage = PooledPostgresStorage(postgres_url)
    storage.event_log_storage.add_dynamic_partitions("songs", ["before"])
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        storage.event_log_storage.add_dynamic_partitions("songs", ["child"])
        os.write(write, b"done")
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert os.read(read, 4) == b"done"
    assert sorted(storage.event_log_storage.get_dynamic_partitions("songs")) == ["before", "child"]
    os.close(read)
    os.close(write)


def test_nothing_that_dagster_hands_on_has_the_password(
    home: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IRONCLAD_DATABASE_URL", postgres_url.replace("ironclad@", "ironclad:hunter2@"))
    with instance_of(home) as instance:
        assert "hunter2" not in dg.serialize_value(instance.get_ref())
        assert "hunter2" not in instance.info_str()


def test_a_server_that_restarts_is_waited_for(make_postgres: Callable[..., PostgresServer]) -> None:
    server = make_postgres()
    server.create_database("ironclad")
    events = PooledPostgresStorage(server.url("ironclad")).event_log_storage
    events.store_event(entry("run", message="before"))
    server.stop("fast")  # "immediate" may take the last events with it: their commits are not synced
    starting = threading.Timer(1.0, server.start)
    starting.start()
    events.store_event(entry("run", message="after"))
    starting.join()
    assert [one.dagster_event.message for one in events.get_logs_for_run("run")] == ["before", "after"]


def test_who_looks_at_a_page_is_told_soon(make_postgres: Callable[..., PostgresServer]) -> None:
    server = make_postgres()
    server.create_database("ironclad")
    runs = PooledPostgresStorage(server.url("ironclad")).run_storage
    runs.optimize_for_webserver(statement_timeout=1, pool_recycle=1, max_overflow=1)
    server.stop("immediate")
    began = time.monotonic()
    with pytest.raises((sa.exc.OperationalError, DagsterPostgresException)):
        runs.get_runs_count()
    assert time.monotonic() - began < 120.0  # a run would wait for 600


def test_what_the_server_cut_off_is_told_again(postgres_url: str) -> None:
    storage = PooledPostgresStorage(postgres_url)
    tried = []

    def write() -> None:
        tried.append(1)
        with pool_of(postgres_url).connect() as connection:
            if len(tried) == 1:
                mine = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
                other = sa.create_engine(postgres_url, poolclass=sa.pool.NullPool)
                with other.connect() as killer:
                    killer.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": mine})
            connection.execute(sa.text("SELECT 1"))

    with_a_living_server(write)
    assert len(tried) == 2
    assert storage.run_storage.get_runs_count() == 0


def test_a_question_is_asked_again_where_its_connection_broke(postgres_url: str) -> None:
    """A run asks Dagster's tables while it goes on: a server that goes away is no reason to fail."""
    PooledPostgresStorage(postgres_url)
    pool = pool_of(postgres_url)
    mine = sa.select(sa.func.pg_backend_pid())
    with pool.connect() as connection:
        before = connection.execute(mine).scalar_one()
    for lost_s in (0.0, 0.3):
        with pool.connect() as connection, broken(connection, away_s=lost_s) as broke:
            after = connection.execute(mine).scalar_one()
        assert (after != before, len(broke)) == (True, 1)
        before = after


def test_a_second_question_of_a_connection_is_asked_again_too(postgres_url: str) -> None:
    PooledPostgresStorage(postgres_url)
    with pool_of(postgres_url).connect() as connection:
        connection.execute(sa.select(1))
        with broken(connection):
            assert connection.execute(sa.select(2)).scalar_one() == 2


def test_a_question_that_is_wrong_in_itself_is_asked_once(postgres_url: str) -> None:
    """Also after the connection broke: waiting for the server would not make it right."""
    PooledPostgresStorage(postgres_url)
    asked: list[str] = []
    slow = sa.select(sa.func.pg_sleep(60))

    def note(connection: sa.Connection, cursor: object, statement: str, *others: object) -> None:
        if "pg_sleep" in statement:  # what a run of an earlier test still says is none of it
            asked.append(statement)

    with pool_of(postgres_url).connect() as connection:
        sa.event.listen(connection.engine, "before_cursor_execute", note)
        connection.execute(sa.text("SET statement_timeout = 100"))
        with pytest.raises(sa.exc.OperationalError, match="statement timeout"):
            connection.execute(slow)
        assert len(asked) == 1
    with pool_of(postgres_url).connect() as connection, broken(connection, then="SET statement_timeout = 100"):
        asked.clear()
        with pytest.raises(sa.exc.OperationalError, match="statement timeout"):
            connection.execute(slow)
        assert len(asked) == 2


def test_what_a_transaction_wrote_is_not_forgotten_by_asking_again(postgres_url: str) -> None:
    PooledPostgresStorage(postgres_url)
    with pool_of(postgres_url).connect() as connection:
        connection.execution_options(isolation_level="READ COMMITTED")
        transaction = connection.begin()
        connection.execute(sa.select(1))
        with broken(connection), pytest.raises(sa.exc.OperationalError):
            connection.execute(sa.select(2))
        transaction.rollback()
    with (
        pool_of(postgres_url).connect() as connection,
        broken(connection),
        pytest.raises(sa.exc.OperationalError),
    ):
        connection.execute(sa.text("SELECT 1"))  # may be anything


@contextmanager
def broken(connection: sa.Connection, *, away_s: float = 0.0, then: str = "") -> Iterator[list[int]]:
    """End the connection's backend when it executes its next statement; the server takes none for `away_s` after.

    Every connection after that begins with the statement `then`.
    """
    broke: list[int] = []
    killer = sa.create_engine(connection.engine.url)
    until = 0.0

    def break_it(executing: sa.Connection, *others: object) -> None:
        nonlocal until
        if executing is connection and not broke:
            pid = connection.connection.dbapi_connection.info.backend_pid
            with killer.connect() as other:
                other.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            broke.append(pid)
            until = time.monotonic() + away_s

    def refuse(*others: object) -> None:
        if time.monotonic() < until:
            raise psycopg2.OperationalError("Connection refused")

    def begin(opened: Any, record: object) -> None:
        if then:
            opened.autocommit = True
            opened.cursor().execute(then)

    sa.event.listen(connection.engine, "before_cursor_execute", break_it)
    sa.event.listen(connection.engine, "do_connect", refuse)
    sa.event.listen(connection.engine, "connect", begin)
    try:
        yield broke
    finally:
        sa.event.remove(connection.engine, "before_cursor_execute", break_it)
        sa.event.remove(connection.engine, "do_connect", refuse)
        sa.event.remove(connection.engine, "connect", begin)
        killer.dispose()


def test_what_is_wrong_in_itself_is_not_tried_again(postgres_url: str) -> None:
    tried = []

    def write() -> None:
        tried.append(1)
        with pool_of(postgres_url).connect() as connection:
            connection.execute(sa.text("SELECT no_such_thing"))

    PooledPostgresStorage(postgres_url)
    with pytest.raises(sa.exc.ProgrammingError):
        with_a_living_server(write)
    assert len(tried) == 1


def test_stock_dagster_would_take_the_ledgers_table_for_its_own(home: Path, postgres_url: str) -> None:
    """Why Dagster has a schema of its own: this fails first when a release of Dagster makes that unnecessary."""
    Ledger(postgres_url).migrate()
    stock = DagsterPostgresStorage(postgres_url)
    assert "bulk_actions" in sa.inspect(sa.create_engine(postgres_url)).get_table_names()
    with pytest.raises(sa.exc.ProgrammingError):
        stock.schedule_storage.all_instigator_state()


def test_a_run_tells_its_machine_and_is_heard_of_until_it_ends(
    home: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dagster_postgres, "BEAT_S", 0.05)
    heard = []

    @dg.asset
    def slow(context: dg.AssetExecutionContext) -> None:
        while len(set(heard)) < 3:
            (record,) = context.instance.get_run_records()
            heard.append(record.update_timestamp)

    with instance_of(home) as instance:
        dg.materialize([slow], instance=instance)
        (run,) = instance.get_runs()
        assert run.tags[HOST_TAG] == socket.gethostname()
        assert run.status is dg.DagsterRunStatus.SUCCESS
    for thread in threading.enumerate():
        if thread.name.startswith("beat-"):
            thread.join(30.0)
            assert not thread.is_alive()


def test_states_of_runs_are_synced_and_events_are_not_waited_for(postgres_url: str) -> None:
    storage = PooledPostgresStorage(postgres_url)
    asked = sa.text("SHOW synchronous_commit")
    for connect, synced in (
        (storage.run_storage.connect, "on"),
        (storage.schedule_storage.connect, "on"),
        (storage.event_log_storage.index_connection, "off"),
    ):
        with connect() as connection:
            assert connection.execute(asked).scalar_one() == synced
