"""Jobs as runs change them: binding, stages, endings, crashes."""

from collections.abc import Callable

import pytest

from ironclad_assets.contracts.v1.job import STAGES, JobState
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import ErrorCode, IroncladError, PermanentFailure
from ironclad_assets.ledger.progress import WEIGHTS, estimate_rest_s, overall_fraction, stage_fraction
from ironclad_assets.ledger.runs import INTERRUPTION_LIMIT
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.worker import WorkerIdentity, current_worker, identify_process
from tests.unit.ledger.conftest import DEAD, ERROR, add_song, make_song

HERE = current_worker()
INIT = identify_process(1)
"""A process that is certainly alive and not this one."""


def begin(ledger: Ledger, run_id: str = "r1", *, worker: WorkerIdentity = HERE, **more: str) -> str:
    return ledger.begin_run("s1", run_id=run_id, worker=worker, actor=f"run:{run_id}", **more).job_uuid


def test_a_run_takes_the_queued_job_and_every_step_finds_it_again(ledger: Ledger) -> None:
    job_uuid = add_song(ledger)
    assert begin(ledger) == job_uuid
    assert begin(ledger) == job_uuid
    job = ledger.job(job_uuid)
    assert (job.state, job.run_id) == (JobState.RUNNING, "r1")
    assert ledger.running_jobs() == [(job, HERE)]
    assert ledger.dispatchable(limit=1) == []
    assert len(ledger.history(job_uuid)) == 2


def test_a_step_in_another_process_becomes_the_worker_of_its_run(ledger: Ledger) -> None:
    add_song(ledger)
    begin(ledger, worker=DEAD)
    begin(ledger, worker=HERE)
    assert [worker for _, worker in ledger.running_jobs()] == [HERE]


def test_a_run_takes_a_held_job_and_its_reason_goes(ledger: Ledger) -> None:
    job_uuid = add_song(ledger)
    ledger.hold(job_uuid, ERROR, actor="dispatcher")
    begin(ledger)
    assert (ledger.job(job_uuid).state, ledger.job(job_uuid).error) == (JobState.RUNNING, None)


def test_a_second_run_is_refused_while_the_first_one_lives(ledger: Ledger) -> None:
    job_uuid = add_song(ledger)
    begin(ledger, "r1", worker=INIT)
    with pytest.raises(IroncladError, match="running in run r1") as caught:
        begin(ledger, "r2")
    assert caught.value.code is ErrorCode.JOB_ACTIVE
    assert ledger.job(job_uuid).run_id == "r1"


@pytest.mark.parametrize(("first", "crashes"), [(DEAD, 1), (HERE, 0)])
def test_a_second_run_takes_over_from_a_dead_worker_and_from_its_own(
    ledger: Ledger, first: WorkerIdentity, crashes: int
) -> None:
    job_uuid = add_song(ledger)
    begin(ledger, "r1", worker=first)
    assert begin(ledger, "r2") == job_uuid
    job = ledger.job(job_uuid)
    assert (job.run_id, job.crashes, job.attempt) == ("r2", crashes, 1)
    assert ledger.history(job_uuid)[-1].detail == "run r2 took over from run r1"


def test_a_worker_on_another_host_counts_as_alive(ledger: Ledger) -> None:
    add_song(ledger)
    begin(ledger, "r1", worker=WorkerIdentity(host="elsewhere", boot_id="b", pid=1, started_ticks=1))
    with pytest.raises(IroncladError):
        begin(ledger, "r2")


def test_a_run_without_a_job_makes_one_with_the_latest_options(ledger: Ledger) -> None:
    first = ledger.register(make_song(), JobOptions(engine="spectral"), actor="test").job
    begin(ledger, "r1")
    ledger.complete(first.job_uuid, actor="run")
    second = ledger.begin_run("s1", run_id="r2", worker=HERE, actor="dagster:ui")
    assert second.job_uuid != first.job_uuid
    assert (second.attempt, second.options, second.state) == (2, first.options, JobState.RUNNING)
    line = ledger.history(second.job_uuid)[0]
    assert (line.actor, line.from_state, line.to_state) == ("dagster:ui", None, "running")


def test_a_run_of_an_unknown_or_refused_song_is_refused(ledger: Ledger) -> None:
    with pytest.raises(IroncladError) as caught:
        begin(ledger)
    assert caught.value.code is ErrorCode.UNKNOWN_SONG
    ledger.register(make_song().model_copy(update={"sha256": ""}), JobOptions(), actor="watcher", error=ERROR)
    with pytest.raises(IroncladError, match="upload it again"):
        begin(ledger)


def test_a_run_asked_for_a_job_that_was_canceled_starts_nothing(ledger: Ledger) -> None:
    job_uuid = add_song(ledger)
    ledger.mark_dispatched([job_uuid])
    ledger.request_cancel(job_uuid, actor="test")
    assert begin(ledger, job_uuid=job_uuid) == job_uuid
    assert ledger.job(job_uuid).state is JobState.CANCELED
    assert len(ledger.jobs()) == 1


def test_a_step_after_the_end_is_given_the_ended_job(ledger: Ledger) -> None:
    job_uuid = add_song(ledger)
    begin(ledger)
    ledger.fail(job_uuid, ERROR, actor="run")
    assert begin(ledger) == job_uuid
    assert ledger.job(job_uuid).state is JobState.FAILED


def test_stages_are_timed_and_move_the_song_forward(ledger: Ledger) -> None:
    job_uuid = add_song(ledger)
    begin(ledger)
    ledger.start_stage(job_uuid, "validated_file")
    running = ledger.job(job_uuid)
    assert (running.stage, running.fraction) == ("validated_file", 0.0)
    assert running.stages[0].ended_at is None
    ledger.finish_stage(job_uuid, "validated_file", seconds=1.23456, reused=False)
    ledger.start_stage(job_uuid, "song_metadata")
    ledger.finish_stage(job_uuid, "song_metadata", seconds=0.1, reused=True)
    ledger.start_stage(job_uuid, "stems")
    ledger.report_progress(job_uuid, stage="stems", fraction=0.5, message="window 5 of 10")
    job = ledger.job(job_uuid)
    assert [(one.stage, one.seconds, one.reused) for one in job.stages] == [
        ("validated_file", 1.235, False),
        ("song_metadata", 0.1, True),
        ("stems", None, False),
    ]
    assert (job.stage, job.message) == ("stems", "window 5 of 10")
    assert job.fraction == pytest.approx(overall_fraction("stems", fraction=0.5))
    assert job.eta_s is not None


def test_a_stage_entered_again_starts_afresh(ledger: Ledger) -> None:
    job_uuid = add_song(ledger)
    begin(ledger)
    ledger.start_stage(job_uuid, "stems")
    ledger.finish_stage(job_uuid, "stems", seconds=9.0, reused=False)
    ledger.start_stage(job_uuid, "stems")
    assert [(one.stage, one.seconds) for one in ledger.job(job_uuid).stages] == [("stems", None)]


def test_a_job_that_does_not_run_takes_no_stages_and_no_progress(ledger: Ledger) -> None:
    job_uuid = add_song(ledger)
    with pytest.raises(IroncladError, match="queued, not running") as caught:
        ledger.start_stage(job_uuid, "stems")
    assert caught.value.code is ErrorCode.ILLEGAL_TRANSITION
    with pytest.raises(IroncladError):
        ledger.finish_stage(job_uuid, "stems", seconds=1.0, reused=False)
    with pytest.raises(IroncladError) as caught:
        ledger.start_stage("nothing", "stems")
    assert caught.value.code is ErrorCode.UNKNOWN_JOB
    ledger.report_progress(job_uuid, stage="stems", fraction=0.5, message="late")
    assert (ledger.job(job_uuid).stage, ledger.job(job_uuid).stages) == (None, ())


@pytest.mark.parametrize("taken", [True, False], ids=["taken", "queued"])
def test_a_run_that_was_given_up_tells_nothing_of_a_job_that_is_its_no_more(ledger: Ledger, taken: bool) -> None:
    job_uuid = add_song(ledger)
    begin(ledger, "r1")
    ledger.start_stage(job_uuid, "stems", run_id="r1")
    ledger.requeue_crashed(job_uuid, actor="reconciler")
    if taken:
        begin(ledger, "r2")
        ledger.start_stage(job_uuid, "stems", run_id="r2")
    before = ledger.job(job_uuid)
    late: list[Callable[[], object]] = [
        lambda: ledger.require_run(job_uuid, run_id="r1"),
        lambda: ledger.start_stage(job_uuid, "stems", run_id="r1"),
        lambda: ledger.finish_stage(job_uuid, "stems", seconds=9.0, reused=False, run_id="r1"),
        lambda: ledger.complete(job_uuid, actor="run:r1", run_id="r1"),
    ]
    for tell in late:
        with pytest.raises(PermanentFailure, match="run r1 was given up: it works on song s1 no more") as caught:
            tell()
        assert caught.value.code is ErrorCode.SUPERSEDED
        assert ledger.job(job_uuid) == before


def test_the_run_that_took_over_completes_the_job_once_and_the_late_one_does_not(ledger: Ledger) -> None:
    job_uuid = add_song(ledger)
    begin(ledger, "r1", worker=DEAD)
    begin(ledger, "r2")
    ledger.require_run(job_uuid, run_id="r2")
    ledger.start_stage(job_uuid, "library_entry", run_id="r2")
    ledger.finish_stage(job_uuid, "library_entry", seconds=1.0, reused=True, run_id="r2")
    done = ledger.complete(job_uuid, actor="run:r2", run_id="r2")
    with pytest.raises(PermanentFailure, match="run r1 was given up"):
        ledger.complete(job_uuid, actor="run:r1", run_id="r1")
    assert ledger.complete(job_uuid, actor="run:r2", run_id="r2") == done == ledger.job(job_uuid)
    assert [(line.to_state, line.actor) for line in ledger.history(job_uuid)][-1:] == [("completed", "run:r2")]


def test_an_end_can_be_told_twice_but_not_changed(ledger: Ledger) -> None:
    """QUEUE-002: a late finisher changes nothing."""
    job_uuid = add_song(ledger)
    begin(ledger)
    done = ledger.complete(job_uuid, actor="run")
    assert (done.state, done.fraction, done.eta_s) == (JobState.COMPLETED, 1.0, None)
    assert ledger.complete(job_uuid, actor="run") == done
    for change in (
        lambda: ledger.fail(job_uuid, ERROR, actor="run"),
        lambda: ledger.canceled(job_uuid, actor="run"),
        lambda: ledger.hold(job_uuid, ERROR, actor="run"),
        lambda: ledger.requeue_crashed(job_uuid, actor="run"),
    ):
        with pytest.raises(IroncladError) as caught:
            change()
        assert caught.value.code is ErrorCode.ILLEGAL_TRANSITION
    assert ledger.job(job_uuid) == done


def test_a_failed_job_keeps_code_detail_remedy_and_stage(ledger: Ledger) -> None:
    """SPLIT-016."""
    job_uuid = add_song(ledger)
    begin(ledger)
    assert ledger.fail(job_uuid, ERROR, actor="run").error == ERROR


def test_a_crashed_job_is_queued_as_a_new_attempt_without_its_run(ledger: Ledger) -> None:
    """WATCH-004."""
    job_uuid = add_song(ledger)
    ledger.mark_dispatched([job_uuid])
    begin(ledger, worker=DEAD)
    job = ledger.requeue_crashed(job_uuid, actor="reconciler")
    assert (job.state, job.attempt, job.crashes, job.run_id) == (JobState.QUEUED, 2, 1, None)
    assert [one.job_uuid for one in ledger.dispatchable(limit=1)] == [job_uuid]
    assert ledger.running_jobs() == []


def test_a_song_that_kills_its_worker_fails_at_the_third_time(ledger: Ledger) -> None:
    """Poison cap."""
    job_uuid = add_song(ledger)
    for number in (1, 2, 3):
        begin(ledger, f"r{number}", worker=DEAD)
        ledger.start_stage(job_uuid, "stems")
        job = ledger.requeue_crashed(job_uuid, actor="reconciler")
    assert (job.state, job.crashes) == (JobState.FAILED, 3)
    assert job.error is not None
    assert (job.error.code, job.error.stage) == ("worker_crashed", "stems")


def test_stops_of_the_whole_system_are_no_crashes_but_do_not_go_on_for_ever(ledger: Ledger) -> None:
    job_uuid = add_song(ledger)
    for number in range(INTERRUPTION_LIMIT - 1):
        begin(ledger, f"r{number}", worker=DEAD)
        job = ledger.requeue_interrupted(job_uuid, actor="reconciler")
        assert (job.state, job.crashes) == (JobState.QUEUED, 0)
    begin(ledger, "r-last", worker=DEAD)
    job = ledger.requeue_interrupted(job_uuid, actor="reconciler")
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error.code == "worker_crashed"


def test_a_crashed_job_that_was_to_be_canceled_is_canceled(ledger: Ledger) -> None:
    job_uuid = add_song(ledger)
    begin(ledger, worker=DEAD)
    ledger.request_cancel(job_uuid, actor="test")
    assert ledger.requeue_crashed(job_uuid, actor="reconciler").state is JobState.CANCELED


def test_a_job_whose_run_failed_before_it_began_is_asked_for_under_a_new_key(ledger: Ledger) -> None:
    job_uuid = add_song(ledger)
    ledger.mark_dispatched([job_uuid])
    assert ledger.requeue_crashed(job_uuid, actor="reconciler").attempt == 2


def test_attempts_of_a_song_are_never_used_twice(ledger: Ledger) -> None:
    """Run keys are for ever."""
    first = add_song(ledger)
    begin(ledger, "r1", worker=DEAD)
    ledger.requeue_crashed(first, actor="reconciler")
    ledger.request_cancel(first, actor="test")
    second = ledger.retry(first, actor="test")
    begin(ledger, "r2", worker=DEAD)
    third = ledger.requeue_crashed(second.job_uuid, actor="reconciler")
    assert (ledger.job(first).attempt, second.attempt, third.attempt) == (2, 3, 4)


def test_weights_cover_every_stage_and_the_whole_song() -> None:
    assert tuple(WEIGHTS) == STAGES
    assert sum(WEIGHTS.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("fraction", [0.0, 0.25, 1.0])
def test_a_stage_fraction_survives_the_way_to_the_song_and_back(stage: str, fraction: float) -> None:
    overall = overall_fraction(stage, fraction=fraction)
    assert stage_fraction(stage, overall=overall) == pytest.approx(fraction)


def test_fractions_stay_within_their_stage() -> None:
    assert overall_fraction("stems", fraction=7.0) == overall_fraction("stems", fraction=1.0)
    assert overall_fraction("stems", fraction=-1.0) == overall_fraction("stems", fraction=0.0)
    assert overall_fraction("library_entry", fraction=1.0) <= 1.0


def test_what_is_left_follows_the_time_that_passed() -> None:
    start, later = "2026-01-01T00:00:00+00:00", "2026-01-01T00:00:30+00:00"
    assert estimate_rest_s(start, updated_at=later, fraction=0.25) == 90.0
    assert estimate_rest_s(later, updated_at=start, fraction=0.25) == 0.0
    assert estimate_rest_s(start, updated_at=later, fraction=0.001) is None
    assert estimate_rest_s(start, updated_at=later, fraction=1.0) is None
    assert estimate_rest_s(None, updated_at=later, fraction=0.5) is None
