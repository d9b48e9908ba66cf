"""Dagster's storage with open connections: the same content as stock, fewer connections, nothing left open."""

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.events import DagsterEvent, EngineEventData
from dagster._core.events.log import EventLogEntry

from ironclad_assets.resources.dagster_storage import (
    MOST_SHARDS,
    PooledEventLogStorage,
    PooledRunStorage,
    PooledScheduleStorage,
    is_initialised,
)

CHECKOUT = Path(__file__).resolve().parents[3]


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
def instance_of(home: Path, *, yaml: str) -> Iterator[dg.DagsterInstance]:
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text(yaml, encoding="utf-8")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def events(tmp_path: Path) -> Iterator[PooledEventLogStorage]:
    storage = PooledEventLogStorage(str(tmp_path / "events"))
    yield storage
    storage.dispose()


@pytest.fixture
def connects() -> Iterator[list[str]]:
    seen: list[str] = []

    def note(connection: object, record: object) -> None:
        seen.append(repr(connection))

    sa.event.listen(sa.Engine, "connect", note)
    yield seen
    sa.event.remove(sa.Engine, "connect", note)


def test_the_default_instance_keeps_its_connections_open(home: Path) -> None:
    with instance_of(home, yaml=(CHECKOUT / "dagster.yaml").read_text(encoding="utf-8")) as instance:
        assert isinstance(instance.run_storage, PooledRunStorage)
        assert isinstance(instance.event_log_storage, PooledEventLogStorage)
        assert isinstance(instance.schedule_storage, PooledScheduleStorage)


def test_stock_dagster_reads_what_was_written_and_the_other_way_round(home: Path) -> None:
    default = (CHECKOUT / "dagster.yaml").read_text(encoding="utf-8")
    stock = "telemetry: {enabled: false}\n"
    for writing, reading in ((default, stock), (stock, default)):
        with instance_of(home, yaml=writing) as instance:
            run_id = dg.materialize([song], instance=instance).run_id
            written = [event.message for event in instance.all_logs(run_id)]
        with instance_of(home, yaml=reading) as instance:
            assert [event.message for event in instance.all_logs(run_id)] == written
            assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.SUCCESS
            assert instance.get_latest_materialization_event(song.key).run_id == run_id


def test_a_hundred_events_of_a_run_share_one_connection(events: PooledEventLogStorage, connects: list[str]) -> None:
    events.store_event(entry("first"))
    connects.clear()
    for number in range(100):
        events.store_event(entry("first", message=str(number)))
    assert connects == []
    assert [one.dagster_event.message for one in events.get_logs_for_run("first")][1:] == [str(n) for n in range(100)]


def test_every_run_begins_with_the_same_empty_database(events: PooledEventLogStorage, tmp_path: Path) -> None:
    def schema(run_id: str) -> list[str]:
        with events.run_connection(run_id) as connection:
            return sorted(connection.execute(sa.text("SELECT coalesce(sql, name) FROM sqlite_master")).scalars())

    for run_id in ("first", "second", "third"):
        events.store_event(entry(run_id, message=run_id))
    assert schema("first") == schema("second") == schema("third")
    for run_id in ("first", "second", "third"):
        assert [one.dagster_event.message for one in events.get_logs_for_run(run_id)] == [run_id]
    with events.run_connection("third") as connection:
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
    assert not list((tmp_path / "events").glob("*.new"))


def test_a_run_that_another_process_created_is_left_as_it_is(events: PooledEventLogStorage, tmp_path: Path) -> None:
    other = PooledEventLogStorage(str(tmp_path / "events"))
    events.store_event(entry("warm-up"))
    other.store_event(entry("shared", message="theirs"))
    events.store_event(entry("shared", message="ours"))
    assert [one.dagster_event.message for one in other.get_logs_for_run("shared")] == ["theirs", "ours"]
    other.dispose()


def test_a_database_without_tables_is_initialised(events: PooledEventLogStorage, tmp_path: Path) -> None:
    """A process that died while it created the database must not leave the run without one."""
    (tmp_path / "events" / "broken.db").touch()
    assert not is_initialised(tmp_path / "events" / "broken.db")
    events.store_event(entry("broken", message="stored"))
    assert [one.dagster_event.message for one in events.get_logs_for_run("broken")] == ["stored"]


def test_databases_of_old_runs_do_not_stay_open(events: PooledEventLogStorage, tmp_path: Path) -> None:
    for number in range(3 * MOST_SHARDS):
        events.store_event(entry(f"run-{number}"))
    assert len(open_databases(tmp_path)) <= MOST_SHARDS + 1
    events.dispose()
    assert open_databases(tmp_path) == set()


def test_a_power_cut_can_never_tear_a_database(home: Path) -> None:
    """Write-ahead logs are synced before they are folded in (synchronous = NORMAL, 1)."""
    with instance_of(home, yaml=(CHECKOUT / "dagster.yaml").read_text(encoding="utf-8")) as instance:
        assert isinstance(instance.run_storage, PooledRunStorage)
        assert isinstance(instance.event_log_storage, PooledEventLogStorage)
        for connect in (instance.run_storage.connect, instance.event_log_storage.index_connection):
            with connect() as connection:
                assert connection.execute(sa.text("PRAGMA synchronous")).scalar() == 1
                assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"


def open_databases(folder: Path) -> set[str]:
    found = set()
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = Path(f"/proc/self/fd/{descriptor}").readlink()
            if target.is_relative_to(folder) and target.suffix == ".db":
                found.add(target.name)
    return found
