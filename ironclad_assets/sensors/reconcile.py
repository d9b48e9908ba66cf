"""Reconciling: brings ledger and Dagster back in step after a crash, at start-up and while running.

Dagster's default launcher cannot tell that a run's process is gone, so a power cut would strand its song
for ever. Here a dead run is reported failed and its job is queued again under a new attempt; what the dead
attempt finished is reused by key. Run retries of Dagster stay off: one mechanism decides. A run on another machine
is dead when it was not heard of for a while.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import dagster as dg
import psutil
from dagster._core.events import DagsterEventType  # no public name for the filter of engine events

from ironclad_assets.contracts.v1.job import STAGES, Job, JobError, JobState
from ironclad_assets.errors import ErrorCode, StorageUnavailable, failure
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.worker import is_alive, is_local
from ironclad_assets.resources.machines import OtherMachines, is_elsewhere
from ironclad_assets.resources.quarantine import quarantine_song
from ironclad_assets.sensors.dispatch import run_key
from ironclad_assets.storage.store import Store

LOST_AFTER_S = 30.0
"""How long a dispatched job may be without a Dagster run before it is dispatched again."""

CLOCK_SLACK_S = 2.0

UNFINISHED = (
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.CANCELING,
)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What one pass mended, as job ids and run ids."""

    dead_runs: tuple[str, ...] = ()
    requeued: tuple[str, ...] = ()
    canceled: tuple[str, ...] = ()
    redispatched: tuple[str, ...] = ()
    given_up: tuple[str, ...] = ()

    def describe(self) -> str:
        parts = [
            f"{len(ids)} {label}"
            for label, ids in (
                ("dead runs reported failed", self.dead_runs),
                ("jobs queued again", self.requeued),
                ("jobs canceled", self.canceled),
                ("jobs dispatched again", self.redispatched),
                ("jobs given up and quarantined", self.given_up),
            )
            if ids
        ]
        return ", ".join(parts)


def reconcile(
    ledger: Ledger,
    instance: dg.DagsterInstance,
    *,
    starting: bool,
    store: Store | None = None,
    others: OtherMachines | None = None,
) -> Reconciled:
    """Mend every difference between ledger and Dagster that a crash can leave.

    Args:
        ledger: the job ledger.
        instance: the Dagster instance.
        starting: nothing of ours runs yet, so runs that are starting are dead too, and a run that ended did
            so because everything did: that is not counted as a crash of its song.
        store: where songs that are given up are quarantined; None for nowhere.
        others: what earlier passes of this process know of runs on other machines.
    """
    mending = _Mending(ledger, store, starting=starting)
    dead = _report_dead_runs(instance, starting=starting, others=others or OtherMachines())
    for job, worker in ledger.running_jobs():
        run = instance.get_run_by_id(job.run_id) if job.run_id else None
        if run is not None and not run.is_finished and is_alive(worker):
            continue
        if run is None and is_local(worker) and is_alive(worker):
            continue  # somebody deleted the run in Dagster; its process goes on and ends the job itself
        if run is not None and not run.is_finished:
            instance.report_run_failed(run, "the process of the run is gone")
        if ledger.job(job.job_uuid).state is not JobState.RUNNING:
            continue  # its run ended, well or badly, while we looked
        mending.mend(job, canceled=job.cancel_requested or _was_canceled(run))
    for job, run in _find_unbegun(ledger, instance, starting=starting):
        if run is None:
            ledger.undispatch(job.job_uuid)
            mending.lost.append(job.job_uuid)
        else:
            mending.mend(job, canceled=_was_canceled(run))
    return Reconciled(
        dead_runs=tuple(dead),
        requeued=tuple(mending.requeued),
        canceled=tuple(mending.canceled),
        redispatched=tuple(mending.lost),
        given_up=tuple(mending.given_up),
    )


class _Mending:
    """What one pass does to jobs whose run is gone, and which they were."""

    def __init__(self, ledger: Ledger, store: Store | None, *, starting: bool) -> None:
        self._ledger = ledger
        self._store = store
        self._queue_again = ledger.requeue_interrupted if starting else ledger.requeue_crashed
        self.requeued: list[str] = []
        self.canceled: list[str] = []
        self.given_up: list[str] = []
        self.lost: list[str] = []

    def mend(self, job: Job, *, canceled: bool) -> None:
        """Give a job whose run is gone its next state; one that is given up is quarantined."""
        if canceled:
            self._ledger.canceled(job.job_uuid, actor="reconciler")
            self.canceled.append(job.job_uuid)
            return
        after = self._queue_again(job.job_uuid, actor="reconciler")
        if after.state is not JobState.FAILED:
            self.requeued.append(job.job_uuid)
            return
        self.given_up.append(job.job_uuid)
        if self._store is not None:
            _quarantine(self._ledger, self._store, job=after)


def _was_canceled(run: dg.DagsterRun | None) -> bool:
    return run is not None and run.status is dg.DagsterRunStatus.CANCELED


def _quarantine(ledger: Ledger, store: Store, *, job: Job) -> None:
    """Leave code, reason and original of a job that was given up in the quarantine, if the store is there."""
    error = job.error or JobError(code=ErrorCode.WORKER_CRASHED.code, detail="", remedy="")
    with suppress(StorageUnavailable):
        store.require_ready()
        quarantine_song(
            store,
            song=ledger.song(job.song),
            job=job,
            stage=error.stage or STAGES[0],
            error=failure(ErrorCode.from_code(error.code), error.detail),
        )


def _report_dead_runs(instance: dg.DagsterInstance, *, starting: bool, others: OtherMachines) -> list[str]:
    """Report failed every unfinished run whose process is gone, or not heard of where it is on another machine."""
    dead = []
    others.begin_look()
    for record in instance.get_run_records(dg.RunsFilter(statuses=list(UNFINISHED)), limit=1000):
        run = record.dagster_run
        if is_elsewhere(run):
            if not others.is_silent(record):
                continue
        else:
            lives = run_lives(instance, run.run_id)
            if lives or (lives is None and not starting):
                continue
        instance.report_run_failed(run, "the process of the run is gone")
        dead.append(run.run_id)
    return dead


def _find_unbegun(
    ledger: Ledger, instance: dg.DagsterInstance, *, starting: bool
) -> Iterator[tuple[Job, dg.DagsterRun | None]]:
    """Yield dispatched jobs that no run began: with the run that ended before its first stage, or with none.

    A run that was made and never queued counts as none: asked for by the same key, Dagster takes it up.
    """
    for job in ledger.dispatched_not_started():
        runs = instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": run_key(job)}), limit=1)
        if ledger.job(job.job_uuid).state is not JobState.QUEUED:
            continue
        if runs and runs[0].is_finished:
            yield job, runs[0]
        elif runs and runs[0].status is not dg.DagsterRunStatus.NOT_STARTED:
            continue
        elif starting or ledger.seconds_since_dispatch(job.job_uuid) >= LOST_AFTER_S:
            yield job, None


def run_lives(instance: dg.DagsterInstance, run_id: str, *, others: bool = False) -> bool | None:
    """Return whether a process that Dagster recorded for a run is alive; None where it recorded none.

    `others`: the process that asks does not count.
    """
    records = instance.get_records_for_run(run_id, of_type=DagsterEventType.ENGINE_EVENT).records
    seen = [(pid, record.event_log_entry.timestamp) for record in records if (pid := _process_id(record)) is not None]
    counted = [(pid, at) for pid, at in seen if not (others and pid == os.getpid())]
    return any(_is_same_process(pid, recorded_at=at) for pid, at in counted) if seen else None


def _process_id(record: dg.EventLogRecord) -> int | None:
    event = record.event_log_entry.dagster_event
    pid = event.engine_event_data.metadata.get("pid") if event is not None else None
    return int(str(pid.value)) if pid is not None and str(pid.value).isdigit() else None


def _is_same_process(pid: int, *, recorded_at: float) -> bool:
    """Return whether `pid` is alive and already was when it was recorded: process ids are used again."""
    try:
        return bool(psutil.Process(pid).create_time() <= recorded_at + CLOCK_SLACK_S)
    except psutil.NoSuchProcess:
        return False


def build_crash_catcher(*, ledger: Ledger, store: Store | None = None) -> dg.SensorDefinition:
    """Return the sensor that reconciles while the system runs."""
    others = OtherMachines()

    @dg.sensor(
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Finds runs whose process died and queues their songs again.",
    )
    def crash_catcher(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        done = reconcile(ledger, context.instance, starting=False, store=store, others=others)
        return dg.SkipReason(done.describe() or f"all runs on {socket.gethostname()} are alive")

    return crash_catcher
