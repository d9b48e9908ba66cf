"""Dispatch: the ledger is the queue, Dagster's own stays shallow."""

from dataclasses import replace

import pytest
from dagster._core.test_utils import instance_for_test

from ironclad_assets.contracts.v1.job import JobError, JobState
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import ErrorCode
from ironclad_assets.ledger.pauses import PauseKind
from ironclad_assets.ledger.rules import Rules
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.sensors.dispatch import (
    MOST_REQUESTS,
    choose_jobs,
    has_waited,
    queue_depth,
    release_held,
    request_runs,
    run_key,
)


def test_each_job_gets_one_partition_and_one_run_with_its_own_key(ledger, add_song):
    jobs = [add_song(1), add_song(2)]
    result = request_runs(jobs)
    assert [request.partition_key for request in result.run_requests] == ["s0001", "s0002"]
    assert [request.run_key for request in result.run_requests] == ["s0001:1:1", "s0002:1:1"]
    assert result.dynamic_partitions_requests[0].partition_keys == ["s0001", "s0002"]


def test_requests_carry_user_job_and_priority_as_tags(ledger, add_song):
    """JOB-001: the ids of the job are on every run."""
    job = add_song(1, user_id="anna")
    tags = request_runs([job]).run_requests[0].tags
    assert tags["ironclad/user"] == "anna"
    assert tags["ironclad/job_uuid"] == job.job_uuid
    assert tags["ironclad/trace_id"] == job.trace_id


def test_one_tick_asks_for_a_bounded_number_of_runs(ledger, add_song):
    for number in range(40):
        add_song(number)
    assert len(choose_jobs(ledger, depth=100)) == MOST_REQUESTS


def test_dagsters_queue_is_kept_shallow(ledger, add_song):
    jobs = [add_song(number) for number in range(10)]
    ledger.mark_dispatched([job.job_uuid for job in jobs[:3]])
    assert [job.song for job in choose_jobs(ledger, depth=5)] == ["s0003", "s0004"]
    assert choose_jobs(ledger, depth=3) == []


def test_jobs_held_for_storage_go_on_by_themselves_and_others_stay(ledger, add_song):
    waiting, pending = add_song(1), add_song(2)
    full = JobError(code=ErrorCode.STORAGE_FULL.code, detail="disk full", remedy="free space")
    other = JobError(code="pending_scan", detail="scanner down", remedy="wait")
    ledger.hold(waiting.job_uuid, full, actor="test")
    ledger.hold(pending.job_uuid, other, actor="test")
    assert release_held(ledger, at_once=True) == 1
    assert ledger.job(waiting.job_uuid).state is JobState.QUEUED
    assert ledger.job(pending.job_uuid).state is JobState.HELD
    assert [job.job_uuid for job in choose_jobs(ledger, depth=5)] == [waiting.job_uuid]


def test_job_that_does_not_fit_waits_longer_after_every_attempt(ledger, add_song):
    """One song that is too large for the disk must not run again every few seconds."""
    job = add_song(1)
    full = JobError(code=ErrorCode.STORAGE_FULL.code, detail="disk full", remedy="free space")
    pauses = []
    for _ in range(4):
        ledger.hold(job.job_uuid, full, actor="test")
        assert release_held(ledger, at_once=False) == 0, "not at once"
        (held,) = ledger.attempts.held()
        pauses.append(next(s for s in range(10_000) if has_waited(replace(held, held_s=float(s)))))
        ledger.release(job.job_uuid, actor="test")
        ledger.mark_dispatched([job.job_uuid])
        ledger.undispatch(job.job_uuid)
    assert pauses == sorted(pauses)
    assert pauses[0] >= 5
    assert max(pauses) <= 600
    assert has_waited(replace(held, held_s=-3600.0)), "a clock that was set back strands nobody"


def test_a_song_that_was_retried_often_waits_no_longer_when_it_is_first_held(ledger, add_song):
    job = add_song(1)
    for _ in range(8):
        ledger.request_cancel(job.job_uuid, actor="test")
        job = ledger.retry(job.job_uuid, actor="test")
    hold(ledger, job, ErrorCode.STORAGE_FULL)
    ledger.note(job.job_uuid, actor="test", detail="a line that is no other hold")
    (held,) = ledger.attempts.held()
    assert has_waited(replace(held, held_s=5.0))
    ledger.release(job.job_uuid, actor="test")
    hold(ledger, job, ErrorCode.STORAGE_FULL)
    (held,) = ledger.attempts.held()
    assert not has_waited(replace(held, held_s=9.9))
    assert has_waited(replace(held, held_s=10.0))


def test_new_attempt_has_a_new_run_key(ledger, add_song):
    """A used run key is skipped by Dagster for ever."""
    job = add_song(1)
    first = run_key(job)
    ledger.request_cancel(job.job_uuid, actor="test")
    assert run_key(ledger.retry(job.job_uuid, actor="test")) != first


def hold(ledger, job, code, *, stage="validated_file"):
    error = JobError(code=code.code, detail="x", remedy="y", stage=stage)
    return ledger.hold(job.job_uuid, error, actor="test")


@pytest.mark.parametrize(
    ("kind", "subject", "stage"),
    [
        (PauseKind.ALL, "", "stems"),
        (PauseKind.USER, "local", "stems"),
        (PauseKind.STAGE, "stems", "stems"),
        (PauseKind.ENGINE, "spectral", "stems"),
    ],
)
def test_a_paused_job_goes_on_when_nothing_would_stop_it_again(ledger, add_song, kind, subject, stage):
    """QUEUE-003."""
    job = add_song(1)
    ledger.resolve_job(job.job_uuid, JobOptions(engine="spectral"), actor="test", detail="")
    hold(ledger, job, ErrorCode.PAUSED, stage=stage)
    ledger.pauses.set(kind, subject, actor="test")
    assert release_held(ledger, at_once=True) == 0
    ledger.pauses.set(PauseKind.USER, "somebody", actor="test")
    ledger.pauses.set(PauseKind.STAGE, "library_entry", actor="test")
    ledger.pauses.set(PauseKind.ENGINE, "demucs", actor="test")
    ledger.pauses.lift(kind, subject, actor="test")
    assert release_held(ledger, at_once=False) == 1


def test_many_paused_jobs_are_queued_again_in_one_tick_in_their_old_order(ledger, add_song):
    """QUEUE-003: 30 jobs paused and resumed keep their order."""
    jobs = [add_song(number) for number in range(30)]
    wanted = [job.job_uuid for job in ledger.dispatchable(limit=99)]
    for job in jobs[::-1]:
        hold(ledger, job, ErrorCode.PAUSED)
    assert release_held(ledger, at_once=False) == 30
    assert [job.job_uuid for job in ledger.dispatchable(limit=99)] == wanted


def test_jobs_held_for_the_scanner_look_again_after_a_while(ledger, add_song):
    hold(ledger, add_song(1), ErrorCode.SCANNER_AWAY)
    assert release_held(ledger, at_once=True) == 0, "the store that came back is no scanner"
    (held,) = ledger.attempts.held()
    assert not has_waited(held)
    assert has_waited(replace(held, held_s=5.1))


def test_jobs_held_for_the_terms_go_on_once_they_are_accepted(tmp_path, ledger, add_song):
    """EULA-001."""
    strict = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", rules=Rules(terms_version="2"))
    hold(strict, add_song(1), ErrorCode.TERMS_REQUIRED)
    hold(strict, add_song(2, user_id="anna"), ErrorCode.TERMS_REQUIRED)
    assert release_held(strict, at_once=True) == 0
    strict.terms.accept("anna", "2", actor="test")
    assert release_held(strict, at_once=False) == 1
    assert [job.user_id for job in strict.dispatchable(limit=9)] == ["anna"]
    strict.close()


def test_jobs_held_for_a_reason_that_nobody_knows_stay(ledger, add_song):
    hold(ledger, add_song(1), ErrorCode.INTERNAL)
    assert release_held(ledger, at_once=True) == 0


@pytest.mark.parametrize(("at_once", "depth"), [(1, 4), (2, 4), (10, 12), (100, 25), (-1, 25)])
def test_as_few_runs_are_handed_over_as_keep_dagster_busy(at_once, depth):
    """Whoever comes later can overtake no run that Dagster has queued already."""
    coordinator = {
        "module": "dagster._core.run_coordinator",
        "class": "QueuedRunCoordinator",
        "config": {"max_concurrent_runs": at_once},
    }
    with instance_for_test(overrides={"run_coordinator": coordinator}) as instance:
        assert queue_depth(instance) == depth
