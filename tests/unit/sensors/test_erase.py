"""What only Dagster knows of a song goes, and nothing of the others; the sensor starts one process at a time."""

from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.storage.runs.schema import RunTagsTable
from dagster._core.test_utils import create_run_for_test

from ironclad_assets.errors import IroncladError
from ironclad_assets.ledger.forget import Traces
from ironclad_assets.partitions import songs
from ironclad_assets.sensors import erase as erase_module
from ironclad_assets.sensors import erase_dagster
from ironclad_assets.sensors.erase import DONE, WAITING, EraserService, build_eraser, erase_requested
from ironclad_assets.sensors.erase_dagster import DagsterTraces
from ironclad_assets.settings import Settings
from ironclad_assets.storage.opening import open_store
from ironclad_assets.upkeep.erase.eraser import Eraser, Progress
from ironclad_assets.upkeep.erase.names import Names
from ironclad_assets.upkeep.erase.tally import Tally

RUN = "0f8fad5b-d9cb-469f-a165-70867728950e"
OTHER = "1f8fad5b-d9cb-469f-a165-70867728950e"
SONG, KEPT = "s06e3zk9v1xy0qj4m7r2t8w5bcd", "s06e3zk9v1xy0qj4m7r2t8w5bce"


@dg.asset(partitions_def=songs)
def thing() -> dg.MaterializeResult:
    return dg.MaterializeResult(metadata={"title": "a song"})


def traces(song: str = SONG, *, run_ids: tuple[str, ...] = ()) -> Traces:
    return Traces(
        song=song,
        user_id="ada",
        original_name="My song.flac",
        sha256="",
        archive_path="",
        job_uuids=("j" * 8,),
        run_ids=run_ids,
        trace_ids=(),
        busy=False,
        changed_at="2026-01-01T00:00:00+00:00",
        dispatched_at=None,
    )


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def materialize(instance: dg.DagsterInstance, song: str) -> str:
    instance.add_dynamic_partitions(str(songs.name), [song])
    result = dg.materialize([thing], partition_key=song, instance=instance)
    return result.run_id


def erase(instance: dg.DagsterInstance, home: Path, one: Traces) -> Tally:
    tally = Tally()
    names = Names.of([one])
    elsewhere = DagsterTraces(instance, home=home, alone=True)
    elsewhere.erase([one], names=names.with_ids(elsewhere.ids([one])), tally=tally)
    return tally


def test_runs_events_and_partition_go_and_the_asset_shows_the_newest_that_is_left(instance, tmp_path) -> None:
    kept, gone = materialize(instance, KEPT), materialize(instance, SONG)
    assert erase(instance, tmp_path, traces()).removed["runs"] == {"count": 1}
    assert [run.run_id for run in instance.get_runs()] == [kept]
    assert instance.get_dynamic_partitions(str(songs.name)) == [KEPT]
    latest = instance.get_latest_materialization_event(thing.key)
    assert (latest.run_id, instance.get_materialized_partitions(thing.key)) == (kept, {KEPT})
    assert not list(instance.all_logs(gone))
    with instance.run_storage.connect() as connection:
        assert connection.execute(sa.select(RunTagsTable.c.run_id).distinct()).scalars().all() == [kept]
    erase(instance, tmp_path, traces(KEPT))
    assert instance.get_latest_materialization_event(thing.key) is None
    assert erase(instance, tmp_path, traces(KEPT)).removed == {}


@pytest.mark.parametrize("name", ["status", "RUNNING", "cursor", "upload_watcher", "index.db"])
def test_a_song_called_like_a_word_of_dagster_leaves_its_tables_and_files_readable(tmp_path, name) -> None:
    """Else nobody's songs would be taken or worked on any more, and their lineage would be gone."""
    place = RegisteredCodeLocationOrigin("ironclad")
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(place, "__repository__"), "upload_watcher")
    state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING, SensorInstigatorData(cursor="{}"))
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        kept, _ = materialize(instance, KEPT), materialize(instance, SONG)
        instance.add_instigator_state(state)
        said = {"skip_reason": f"1 taken ({name!r})", "selector_id": state.selector_id}
        known = (state.instigator_origin_id, "upload_watcher", InstigatorType.SENSOR, TickStatus.SKIPPED, 1.0)
        instance.create_tick(TickData(*known, **said))
        (tmp_path / "logs").mkdir()
        (tmp_path / "logs" / name).write_text("of another")
        erase(instance, tmp_path, replace(traces(), original_name=name))
        assert instance.all_instigator_state() == [state]
        (tick,) = instance.get_ticks(state.instigator_origin_id, state.selector_id)
        assert (tick.instigator_name, tick.status) == ("upload_watcher", TickStatus.SKIPPED)
        assert tick.tick_data.skip_reason == "1 taken ([erased])"
        assert [run.run_id for run in instance.get_runs()] == [kept]
        assert instance.get_materialized_partitions(thing.key) == {KEPT}
    assert (tmp_path / "logs" / name).read_text() == "of another"
    assert (tmp_path / "history" / "runs" / "index.db").is_file()


def test_runs_that_wait_are_canceled_and_dead_ones_reported(instance, tmp_path) -> None:
    tags = {"dagster/partition": SONG}
    create_run_for_test(instance, run_id=RUN, status=dg.DagsterRunStatus.NOT_STARTED, tags=tags)
    create_run_for_test(instance, run_id=OTHER, status=dg.DagsterRunStatus.STARTED, tags=tags)
    assert DagsterTraces(instance, home=tmp_path, alone=True).quieten([traces()]) == ""
    assert {run.status for run in instance.get_runs()} == {dg.DagsterRunStatus.CANCELED}


def test_a_living_run_is_waited_for_and_one_beside_a_job_is_asked_to_stop(instance, tmp_path, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(erase_dagster, "run_lives", lambda *_, **__: True)
    monkeypatch.setattr(type(instance.run_launcher), "terminate", lambda self, run_id: asked.append(run_id))
    tags = {"dagster/partition": SONG}
    for run_id, status in ((RUN, dg.DagsterRunStatus.STARTED), (OTHER, dg.DagsterRunStatus.STARTED)):
        create_run_for_test(instance, run_id=run_id, status=status, tags=tags)
    elsewhere = DagsterTraces(instance, home=tmp_path, alone=False)
    assert elsewhere.quieten([traces(run_ids=(RUN,))]) == "2 runs are still stopping"
    assert asked == [OTHER], "the other hears of it from the ledger"
    instance.report_run_canceled(instance.get_run_by_id(RUN))
    instance.report_run_canceled(instance.get_run_by_id(OTHER))
    assert elsewhere.quieten([traces()]) == "2 runs are still stopping", "their processes still write"
    assert DagsterTraces(instance, home=tmp_path, alone=True).quieten([traces()]) == ""
    monkeypatch.setattr(erase_dagster, "LONGEST_ENDING_S", -1.0)
    assert elsewhere.quieten([traces()]) == "", "a process that has had its number since is none of theirs"


def test_a_run_that_only_the_ledger_knows_counts_unless_it_is_another_songs(instance, tmp_path) -> None:
    create_run_for_test(instance, run_id=RUN, status=dg.DagsterRunStatus.NOT_STARTED, tags={"dagster/partition": KEPT})
    create_run_for_test(instance, run_id=OTHER, status=dg.DagsterRunStatus.NOT_STARTED)
    DagsterTraces(instance, home=tmp_path, alone=True).quieten([traces(run_ids=(RUN, OTHER, "unknown"))])
    assert instance.get_run_by_id(RUN).status is dg.DagsterRunStatus.NOT_STARTED
    assert instance.get_run_by_id(OTHER).status is dg.DagsterRunStatus.CANCELED


def test_files_of_a_run_go_and_logs_of_sensors_are_masked(instance, tmp_path) -> None:
    for path in (
        f"history/runs/{RUN}.db",
        f"history/runs/{OTHER}.db",
        f"storage/{RUN}/x.err",
        f"storage/{OTHER}/x.err",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f"about {SONG}")
    sensor = tmp_path / "storage" / "upload_watcher" / "17.err"
    sensor.parent.mkdir()
    sensor.write_text(f"took 'My song.flac'\nasked for {SONG}:1:1\nother\n")
    erase(instance, tmp_path, traces(run_ids=(RUN,)))
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == [f"history/runs/{OTHER}.db", f"storage/{OTHER}/x.err", "storage/upload_watcher/17.err"]
    assert sensor.read_text().split() == ["[erased]", "[erased]", "other"]


def test_a_storage_without_tables_is_refused_not_taken_for_empty() -> None:
    with pytest.raises(IroncladError, match="no tables"):
        erase_dagster._sql(object())


STUCK = frozenset({"stuck"})


class Process:
    """Stands for the process that erases."""

    def __init__(self, code: int | None) -> None:
        self.code = code
        self.killed = False

    def poll(self) -> int | None:
        return self.code

    def kill(self) -> None:
        self.killed = True

    def wait(self) -> int:
        return 0


@pytest.fixture
def service(ledger, tmp_path, monkeypatch):
    service = EraserService(ledger=ledger, settings=Settings(home=tmp_path / "home"))
    started = []

    def start() -> Process:
        started.append(Process(None))
        return started[-1]

    monkeypatch.setattr(service, "_start", start)
    return service, started


def test_one_process_at_a_time_erases_and_one_that_could_not_is_followed_after_a_pause(
    service, ledger, add_song, monkeypatch
) -> None:
    eraser, started = service
    assert eraser.tick() == "nothing is to be deleted"
    ledger.deletions.request_song(add_song(1).song, actor="test")
    assert eraser.tick() == "1 deletions begun"
    assert eraser.tick() == "deleting"
    started[0].code = WAITING
    assert "wait; see erase.log" in eraser.tick()
    monkeypatch.setattr(erase_module.time, "monotonic", lambda: 1e9)
    assert eraser.tick() == "1 deletions begun"
    started[1].code = DONE
    assert eraser.tick() == "1 deletions begun", "for what was asked meanwhile"
    eraser.close()
    assert started[2].killed
    eraser.close()


def test_what_has_to_be_mended_first_is_not_tried_all_the_time(instance, ledger, tmp_path, monkeypatch) -> None:
    tries = []

    def work(eraser: Eraser) -> Progress:
        tries.append(eraser)
        return Progress(
            (), {"stuck": "may not", "busy": "stopping"} if len(tries) == 1 else {"stuck": "may not"}, STUCK
        )

    monkeypatch.setattr(Eraser, "work", work)
    settings = Settings(home=tmp_path / "home")
    found = erase_requested(
        instance,
        settings=settings,
        ledger=ledger,
        store=open_store(settings),
        patience_s=60,
        sleep=lambda seconds: None,
    )
    assert len(tries) == 2, "again for what only takes a while"
    assert found == Progress((), {"stuck": "may not"}, STUCK)


def test_the_sensor_says_how_it_stands(service) -> None:
    sensor = build_eraser(service[0])
    with dg.build_sensor_context() as context:
        assert sensor(context).skip_message == "nothing is to be deleted"
