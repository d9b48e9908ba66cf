"""Reconciling ledger and Dagster: what a crash at any moment leaves is mended."""

import os
import subprocess
import sys

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.ledger.worker import WorkerIdentity, current_worker, identify_process
from ironclad_assets.sensors.dispatch import run_key
from ironclad_assets.sensors.reconcile import reconcile

RUN = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def dead_worker():
    """A process that lived and is gone."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    worker = identify_process(process.pid)
    process.kill()
    process.communicate()
    return worker


def start(ledger, instance, job, *, worker: WorkerIdentity, status=dg.DagsterRunStatus.STARTED):
    create_run_for_test(instance, run_id=RUN, status=status, tags={"dagster/run_key": run_key(job)})
    ledger.mark_dispatched([job.job_uuid])
    return ledger.begin_run(job.song, run_id=RUN, worker=worker, actor="test", job_uuid=job.job_uuid)


def test_job_whose_process_died_is_queued_again_and_its_run_reported_failed(ledger, add_song, instance, dead_worker):
    """WATCH-004: after kill -9 no song is stranded."""
    job = start(ledger, instance, add_song(1), worker=dead_worker)
    done = reconcile(ledger, instance, crash_limit=3, starting=False)
    again = ledger.job(job.job_uuid)
    assert done.requeued == (job.job_uuid,)
    assert (again.state, again.crashes, again.attempt) == (JobState.QUEUED, 1, job.attempt + 1)
    assert instance.get_run_by_id(RUN).status is dg.DagsterRunStatus.FAILURE
    assert ledger.dispatchable(limit=5) == [again]


def test_living_run_is_left_alone(ledger, add_song, instance):
    job = start(ledger, instance, add_song(1), worker=current_worker())
    done = reconcile(ledger, instance, crash_limit=3, starting=False)
    assert done.describe() == ""
    assert ledger.job(job.job_uuid).state is JobState.RUNNING


def test_song_that_keeps_killing_its_process_is_failed_at_the_limit(ledger, add_song, instance, dead_worker):
    job = start(ledger, instance, add_song(1), worker=dead_worker)
    reconcile(ledger, instance, crash_limit=1, starting=False)
    failed = ledger.job(job.job_uuid)
    assert failed.state is JobState.FAILED
    assert failed.error.code == "worker_crashed"


def test_run_terminated_in_the_dagster_ui_cancels_its_job(ledger, add_song, instance, dead_worker):
    job = start(ledger, instance, add_song(1), worker=dead_worker, status=dg.DagsterRunStatus.CANCELED)
    reconcile(ledger, instance, crash_limit=3, starting=False)
    assert ledger.job(job.job_uuid).state is JobState.CANCELED


def test_dispatched_job_whose_run_was_never_created_is_dispatched_again_at_start(ledger, add_song, instance):
    job = add_song(1)
    ledger.mark_dispatched([job.job_uuid])
    assert reconcile(ledger, instance, crash_limit=3, starting=True).redispatched == (job.job_uuid,)
    assert [one.job_uuid for one in ledger.dispatchable(limit=5)] == [job.job_uuid]
    assert run_key(ledger.job(job.job_uuid)) == run_key(job), "the same key, so that Dagster cannot start two"


def test_freshly_dispatched_job_is_given_time_for_its_run(ledger, add_song, instance):
    job = add_song(1)
    ledger.mark_dispatched([job.job_uuid])
    assert reconcile(ledger, instance, crash_limit=3, starting=False).redispatched == ()


def test_run_that_died_before_its_first_stage_is_asked_for_under_a_new_key(ledger, add_song, instance):
    job = add_song(1)
    ledger.mark_dispatched([job.job_uuid])
    tags = {"dagster/run_key": run_key(job)}
    create_run_for_test(instance, run_id=RUN, status=dg.DagsterRunStatus.FAILURE, tags=tags)
    assert reconcile(ledger, instance, crash_limit=3, starting=True).requeued == (job.job_uuid,)
    assert run_key(ledger.job(job.job_uuid)) != run_key(job)


def test_starting_run_without_a_recorded_process_is_dead_only_at_start_up(ledger, instance):
    create_run_for_test(instance, run_id=RUN, status=dg.DagsterRunStatus.STARTING)
    assert reconcile(ledger, instance, crash_limit=3, starting=False).dead_runs == ()
    assert reconcile(ledger, instance, crash_limit=3, starting=True).dead_runs == (RUN,)


def test_worker_identity_survives_being_written_to_the_environment():
    worker = current_worker()
    assert WorkerIdentity.parse(str(worker)) == worker
    assert worker.pid == os.getpid()
