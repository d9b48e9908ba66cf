"""Reconciling ledger and Dagster: what a crash at any moment leaves is mended."""

import dataclasses
import json
import os
import subprocess
import sys

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.ledger.worker import WorkerIdentity, current_worker, identify_process
from ironclad_assets.resources.machines import HOST_TAG, SILENT_S, OtherMachines
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


def start(ledger, instance, job, *, worker: WorkerIdentity, status=dg.DagsterRunStatus.STARTED, run_id=RUN):
    create_run_for_test(instance, run_id=run_id, status=status, tags={"dagster/run_key": run_key(job)})
    ledger.mark_dispatched([job.job_uuid])
    return ledger.begin_run(job.song, run_id=run_id, worker=worker, actor="test", job_uuid=job.job_uuid)


def test_job_whose_process_died_is_queued_again_and_its_run_reported_failed(ledger, add_song, instance, dead_worker):
    """WATCH-004: after kill -9 no song is stranded."""
    job = start(ledger, instance, add_song(1), worker=dead_worker)
    done = reconcile(ledger, instance, starting=False)
    again = ledger.job(job.job_uuid)
    assert done.requeued == (job.job_uuid,)
    assert (again.state, again.crashes, again.attempt) == (JobState.QUEUED, 1, job.attempt + 1)
    assert instance.get_run_by_id(RUN).status is dg.DagsterRunStatus.FAILURE
    assert ledger.dispatchable(limit=5) == [again]


def test_living_run_is_left_alone(ledger, add_song, instance):
    job = start(ledger, instance, add_song(1), worker=current_worker())
    done = reconcile(ledger, instance, starting=False)
    assert done.describe() == ""
    assert ledger.job(job.job_uuid).state is JobState.RUNNING


def test_song_whose_run_was_deleted_is_not_worked_on_twice(ledger, add_song, instance):
    """Dagster's UI deletes runs that are under way, and not their processes: the song waits for its own to end."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    job = start(ledger, instance, add_song(1), worker=identify_process(process.pid))
    instance.delete_run(RUN)
    assert reconcile(ledger, instance, starting=False).requeued == ()
    assert ledger.job(job.job_uuid).state is JobState.RUNNING
    process.kill()
    process.communicate()
    assert reconcile(ledger, instance, starting=False).requeued == (job.job_uuid,)


def test_song_that_keeps_killing_its_process_is_failed_at_the_limit_and_quarantined(
    ledger, add_song, instance, dead_worker, store
):
    """Promise 7."""
    job = add_song(1)
    original = store.path(ledger.song(job.song).archive_path)
    original.parent.mkdir(parents=True)
    original.write_bytes(b"poison")
    for number in range(3):
        assert not store.quarantine(job.song).exists()
        run_id = f"{number}{RUN[1:]}"
        job = start(ledger, instance, ledger.job(job.job_uuid), worker=dead_worker, run_id=run_id)
        done = reconcile(ledger, instance, starting=False, store=store)
    failed = ledger.job(job.job_uuid)
    assert failed.state is JobState.FAILED
    assert failed.error.code == "worker_crashed"
    assert done.given_up == (job.job_uuid,)
    assert "given up" in done.describe()
    said = json.loads((store.quarantine(job.song) / "error.json").read_bytes())
    assert (said["code"], said["job_uuid"]) == ("worker_crashed", job.job_uuid)
    assert (store.quarantine(job.song) / "original").read_bytes() == b"poison"


def test_given_up_song_is_failed_also_while_the_store_is_away(ledger, add_song, instance, dead_worker, store):
    job = add_song(1)
    store.sentinel.unlink()
    for number in range(3):
        run_id = f"{number}{RUN[1:]}"
        job = start(ledger, instance, ledger.job(job.job_uuid), worker=dead_worker, run_id=run_id)
        reconcile(ledger, instance, starting=False, store=store)
    assert ledger.job(job.job_uuid).state is JobState.FAILED
    assert not store.quarantine(job.song).exists()


def test_stops_of_the_whole_system_are_not_held_against_a_song(ledger, add_song, instance, dead_worker):
    job = add_song(1)
    for number in range(5):
        run_id = f"{number}{RUN[1:]}"
        job = start(ledger, instance, ledger.job(job.job_uuid), worker=dead_worker, run_id=run_id)
        reconcile(ledger, instance, starting=True)
    again = ledger.job(job.job_uuid)
    assert (again.state, again.crashes, again.attempt) == (JobState.QUEUED, 0, 6)


def test_run_canceled_in_the_dagster_ui_before_it_began_cancels_its_job(ledger, add_song, instance):
    job = add_song(1)
    ledger.mark_dispatched([job.job_uuid])
    tags = {"dagster/run_key": run_key(job)}
    create_run_for_test(instance, run_id=RUN, status=dg.DagsterRunStatus.CANCELED, tags=tags)
    assert reconcile(ledger, instance, starting=False).canceled == (job.job_uuid,)
    assert ledger.job(job.job_uuid).state is JobState.CANCELED


def test_run_that_was_made_and_never_queued_is_asked_for_again_under_its_key(ledger, add_song, instance):
    job = add_song(1)
    ledger.mark_dispatched([job.job_uuid])
    tags = {"dagster/run_key": run_key(job)}
    create_run_for_test(instance, run_id=RUN, status=dg.DagsterRunStatus.NOT_STARTED, tags=tags)
    assert reconcile(ledger, instance, starting=True).redispatched == (job.job_uuid,)
    assert run_key(ledger.job(job.job_uuid)) == run_key(job)


class EndsMeanwhile:
    """A Dagster instance whose run ends between the reconciler's look at the ledger and its look at the run."""

    def __init__(self, instance, end):
        self._instance, self._end = instance, end

    def __getattr__(self, name):
        return getattr(self._instance, name)

    def get_run_by_id(self, run_id):
        self._end()


def test_job_that_ends_while_it_is_looked_at_stays_ended(ledger, add_song, instance, dead_worker):
    job = start(ledger, instance, add_song(1), worker=dead_worker)
    racing = EndsMeanwhile(instance, lambda: ledger.complete(job.job_uuid, actor="test"))
    assert reconcile(ledger, racing, starting=False).requeued == ()
    assert ledger.job(job.job_uuid).state is JobState.COMPLETED


def test_run_terminated_in_the_dagster_ui_cancels_its_job(ledger, add_song, instance, dead_worker):
    job = start(ledger, instance, add_song(1), worker=dead_worker, status=dg.DagsterRunStatus.CANCELED)
    reconcile(ledger, instance, starting=False)
    assert ledger.job(job.job_uuid).state is JobState.CANCELED


def test_dispatched_job_whose_run_was_never_created_is_dispatched_again_at_start(ledger, add_song, instance):
    job = add_song(1)
    ledger.mark_dispatched([job.job_uuid])
    assert reconcile(ledger, instance, starting=True).redispatched == (job.job_uuid,)
    assert [one.job_uuid for one in ledger.dispatchable(limit=5)] == [job.job_uuid]
    assert run_key(ledger.job(job.job_uuid)) == run_key(job), "the same key, so that Dagster cannot start two"


def test_freshly_dispatched_job_is_given_time_for_its_run(ledger, add_song, instance):
    job = add_song(1)
    ledger.mark_dispatched([job.job_uuid])
    assert reconcile(ledger, instance, starting=False).redispatched == ()


def test_run_that_died_before_its_first_stage_is_asked_for_under_a_new_key(ledger, add_song, instance):
    job = add_song(1)
    ledger.mark_dispatched([job.job_uuid])
    tags = {"dagster/run_key": run_key(job)}
    create_run_for_test(instance, run_id=RUN, status=dg.DagsterRunStatus.FAILURE, tags=tags)
    assert reconcile(ledger, instance, starting=True).requeued == (job.job_uuid,)
    assert run_key(ledger.job(job.job_uuid)) != run_key(job)


def test_starting_run_without_a_recorded_process_is_dead_only_at_start_up(ledger, instance):
    create_run_for_test(instance, run_id=RUN, status=dg.DagsterRunStatus.STARTING)
    assert reconcile(ledger, instance, starting=False).dead_runs == ()
    assert reconcile(ledger, instance, starting=True).dead_runs == (RUN,)


def test_worker_identity_survives_being_written_to_the_environment():
    worker = current_worker()
    assert WorkerIdentity.parse(str(worker)) == worker
    assert worker.pid == os.getpid()


def test_run_on_another_machine_is_left_alone_while_it_is_heard_of(ledger, add_song, instance):
    """Its process cannot be seen from here, and is not looked for."""
    others = OtherMachines()
    elsewhere = dataclasses.replace(current_worker(), host="attic")
    job = start(ledger, instance, add_song(1), worker=elsewhere)
    instance.run_storage.add_run_tags(RUN, {HOST_TAG: "attic"})
    for starting in (True, False):
        assert reconcile(ledger, instance, starting=starting, others=others).describe() == ""
    assert ledger.job(job.job_uuid).state is JobState.RUNNING
    assert instance.get_run_by_id(RUN).status is dg.DagsterRunStatus.STARTED


def test_song_of_a_machine_that_is_not_heard_of_any_more_is_queued_again(ledger, add_song, instance):
    """A dead host strands no song."""
    now = 0.0
    others = OtherMachines(clock=lambda: now)
    elsewhere = dataclasses.replace(current_worker(), host="attic")
    job = start(ledger, instance, add_song(1), worker=elsewhere)
    instance.run_storage.add_run_tags(RUN, {HOST_TAG: "attic"})
    while now <= SILENT_S:
        assert ledger.job(job.job_uuid).state is JobState.RUNNING
        done = reconcile(ledger, instance, starting=False, others=others)
        now += 30.0
    assert done.dead_runs == (RUN,)
    assert done.requeued == (job.job_uuid,)
    assert ledger.job(job.job_uuid).state is JobState.QUEUED
