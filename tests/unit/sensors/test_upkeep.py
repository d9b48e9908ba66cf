"""The jobs that look after the store: what a run of them does and shows, when they run, and that they meet no song."""

import time
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.storage.runs.schema import RunsTable
from dagster._core.utils import make_new_run_id

from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.jobs import process_song
from ironclad_assets.sensors.reconcile import reconcile
from ironclad_assets.sensors.runs_of_old import drop_old_runs
from ironclad_assets.sensors.upkeep import _part_request, build_upkeep_schedules, prune_store, verify_store
from ironclad_assets.settings import Settings
from ironclad_assets.upkeep.prune.guard import Clock, keep_witness
from tests.unit.upkeep.worlds import DAY_S, make_world


@pytest.fixture
def world(settings, store, tmp_path):
    world = make_world(settings, store, url=f"sqlite:///{settings.home_dir / 'ledger.db'}", folder=tmp_path)
    yield world
    world.ledger.close()


@pytest.fixture
def run(world):
    """Run a job in an instance of its own; gives the result."""
    resources = {"ledger": world.ledger, "store": world.store, "settings": world.settings}
    with dg.DagsterInstance.ephemeral() as instance:

        def execute(job, *, fails: bool = False, **config):
            op = "prune_files" if job is prune_store else "verify_files"
            ops = {op: {"config": config}}
            if job is prune_store:
                ops["prune_runs"] = {"config": config}
            return job.execute_in_process(
                run_config={"ops": ops}, resources=resources, instance=instance, raise_on_error=not fails
            )

        execute.instance = instance
        yield execute


def shown_by(result):
    [output] = [one for one in result.events_for_node("prune_files") if one.is_successful_output]
    return output.event_specific_data.metadata


def test_a_sweep_is_a_run_that_shows_what_went(world, run):
    """DAG-001, ORG-002: prune is scheduled, and its figures are in the run."""
    song = world.song(age_days=8)
    result = run(prune_store)
    assert result.success
    assert not world.store.stage("stems", song).manifest.exists()
    [line] = world.ledger.audit.lines()
    assert line.actor == f"run:{result.run_id}"
    shown = shown_by(result)
    assert shown["removed_bytes"].value > 0
    assert {record.data["kind"] for record in shown["kinds"].records} >= {"intermediate", "orphaned"}


def test_a_dry_run_from_the_launchpad_shows_every_path_and_touches_nothing(world, run):
    song = world.song(age_days=8)
    before = world.files()
    result = run(prune_store, dry_run=True)
    assert world.files() == before
    shown = shown_by(result)
    paths = {record.data["path"] for record in shown["removals"].records}
    assert f"stages/stems/{song}/manifest.json" in paths


def test_what_can_be_made_again_goes_also_where_the_rest_is_too_much(world, run):
    """Promise 17: a schedule confirms nothing; the run fails with the code, and says so."""
    song = world.song(age_days=8)
    world.put("stages/stems/gone/abc/x", b"x" * 100_000)
    result = run(prune_store, fails=True)
    assert not result.success
    failed = [event for event in result.all_events if event.is_step_failure]
    assert failed[0].event_specific_data.user_failure_data.metadata["error_code"].value == "sweep_too_large"
    assert not world.store.stage("stems", song).manifest.exists()
    assert (world.store.root / "stages/stems/gone").exists()
    assert run(prune_store, confirm=True).success
    assert not (world.store.root / "stages/stems/gone").exists()


def test_verifying_fails_where_something_is_wrong(world, run):
    """Promise 18: every byte is read."""
    song = world.song()
    assert run(verify_store).success
    [file] = world.store.root.glob(f"stages/stems/{song}/*/audio.f32")
    file.write_bytes(b"X" + file.read_bytes()[1:])
    result = run(verify_store, fails=True)
    assert not result.success
    [failed] = [event for event in result.all_events if event.is_step_failure]
    shown = failed.event_specific_data.user_failure_data.metadata
    assert [record.data["code"] for record in shown["found"].records] == ["file_damaged"]


def test_schedules_run_by_default_and_can_be_switched_off(settings):
    schedules = {one.name: one for one in build_upkeep_schedules(settings)}
    assert set(schedules) == {"nightly_prune", "weekly_verify"}
    assert all(one.default_status is dg.DefaultScheduleStatus.RUNNING for one in schedules.values())
    assert build_upkeep_schedules(Settings(home=settings.home, prune_cron="", verify_cron="")) == []


def test_every_part_of_the_store_gets_its_turn():
    week = 7 * 86_400
    parts = []
    for number in range(4):
        request = _part_request(datetime.fromtimestamp(1_700_000_000 + number * week, tz=UTC), parts=4)
        parts.append(request.run_config["ops"]["verify_files"]["config"]["number"])
    assert sorted(parts) == [1, 2, 3, 4]


def test_a_dead_sweep_is_reported_failed_and_touches_no_job(world):
    """A run without a song is none of the ledger's: the reconciler ends it and queues nothing."""
    waiting = world.song(state=JobState.QUEUED)
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(prune_store)
        started = DagsterEvent(event_type_value=DagsterEventType.RUN_START.value, job_name=prune_store.name)
        instance.report_dagster_event(started, run_id=run.run_id)
        done = reconcile(world.ledger, instance, starting=True)
        assert done.dead_runs == (run.run_id,)
        assert done.requeued == ()
        assert world.ledger.latest_job(waiting).state is JobState.QUEUED


def test_old_runs_go_but_for_the_last_good_one_of_each_song(world, run, tmp_path):
    """Dagster keeps everything for ever: what ended long ago goes, a song stays materialized."""
    tags = {"dagster/partition": "s1"}
    made = []
    for status in ("SUCCESS", "FAILURE", "SUCCESS", "FAILURE"):
        one = dg.DagsterRun(
            job_name=process_song.name, run_id=make_new_run_id(), tags=tags,
            status=dg.DagsterRunStatus[status],
        )  # fmt: skip
        run.instance.add_run(one)
        made.append(one.run_id)
    (tmp_path / "history" / "runs").mkdir(parents=True)
    database = tmp_path / "history" / "runs" / f"{made[0]}.db"
    database.touch()
    yesterday, tomorrow = (datetime.now(UTC) + timedelta(days=days) for days in (-1, 1))
    assert drop_old_runs(run.instance, home=tmp_path, before=yesterday) == 0
    assert drop_old_runs(run.instance, home=tmp_path, before=tomorrow, pretend=True) == 3
    assert drop_old_runs(run.instance, home=tmp_path, before=tomorrow) == 3
    assert [one.run_id for one in run.instance.get_runs()] == [made[2]]
    assert not database.exists()


def ended_days_ago(instance: dg.DagsterInstance, days: float) -> str:
    """Add a run that ended so long ago; return its id."""
    one = dg.DagsterRun(job_name=process_song.name, run_id=make_new_run_id(), status=dg.DagsterRunStatus.FAILURE)
    instance.add_run(one)
    at = (datetime.now(UTC) - timedelta(days=days)).replace(tzinfo=None)
    with instance.run_storage.connect() as connection:
        connection.execute(RunsTable.update().where(RunsTable.c.run_id == one.run_id).values(update_timestamp=at))
    return one.run_id


def test_a_clock_that_jumped_takes_no_young_run(world, run):
    """Promise 17: the last sweep was a moment ago by the seconds since the boot, and 200 days ago by the clock."""
    young = ended_days_ago(run.instance, 199)
    keep_witness(world.settings, clock=Clock(wall=lambda: time.time() - 200 * DAY_S))
    assert not run(prune_store, fails=True).success
    assert run.instance.get_run_by_id(young) is not None
    assert run(prune_store, confirm=True).success
    assert run.instance.get_run_by_id(young) is None


def test_runs_are_as_old_as_the_ledger_knows_where_nothing_else_speaks_for_the_clock(world, run):
    """Promise 17: after a boot, before a first sweep."""
    world.song(state=JobState.QUEUED)
    world.lines_are_old(0.9)
    young, old = ended_days_ago(run.instance, 90.5), ended_days_ago(run.instance, 91)
    assert run(prune_store).success
    assert [run.instance.get_run_by_id(one) is None for one in (young, old)] == [False, True]


def test_a_run_whose_database_is_damaged_goes_and_stops_nothing(tmp_path):
    """The files of all songs are swept after the runs."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        for _ in range(3):
            instance.add_run(
                dg.DagsterRun(job_name="any", run_id=make_new_run_id(), status=dg.DagsterRunStatus.FAILURE)
            )
        damaged = instance.get_runs()[1].run_id
        database = tmp_path / "history" / "runs" / f"{damaged}.db"
        database.write_bytes(b"no database" * 1000)
        assert drop_old_runs(instance, home=tmp_path, before=tomorrow) == 3
        assert instance.get_runs() == []
    assert not database.exists()
