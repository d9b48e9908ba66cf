"""Reconciling: brings ledger and Dagster back in step after a crash, at start-up and while running.

Dagster's default launcher cannot tell that a run's process is gone, so a power cut would strand its song
for ever. Here a dead run is reported failed and its job is queued again under a new attempt; what the dead
attempt finished is reused by key. Run retries of Dagster stay off: one mechanism decides.
"""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
import psutil
from dagster._core.events import DagsterEventType  # no public name for the filter of engine events

from ironclad_assets.contracts.v1.job import Job, JobState
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.worker import is_alive
from ironclad_assets.sensors.dispatch import run_key

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

    def describe(self) -> str:
        parts = [
            f"{len(ids)} {label}"
            for label, ids in (
                ("dead runs reported failed", self.dead_runs),
                ("jobs queued again", self.requeued),
                ("jobs canceled", self.canceled),
                ("jobs dispatched again", self.redispatched),
            )
            if ids
        ]
        return ", ".join(parts)


def reconcile(ledger: Ledger, instance: dg.DagsterInstance, *, starting: bool) -> Reconciled:
    """Mend every difference between ledger and Dagster that a crash can leave.

    Args:
        ledger: the job ledger.
        instance: the Dagster instance.
        starting: nothing of ours runs yet, so runs that are starting are dead too, and a run that ended did
            so because everything did: that is not counted as a crash of its song.
    """
    dead = _report_dead_runs(instance, starting=starting)
    requeue = ledger.requeue_interrupted if starting else ledger.requeue_crashed
    requeued, canceled = [], []
    for job, worker in ledger.running_jobs():
        run = instance.get_run_by_id(job.run_id) if job.run_id else None
        if run is not None and not run.is_finished and is_alive(worker):
            continue
        if run is not None and not run.is_finished:
            instance.report_run_failed(run, "the process of the run is gone")
        if ledger.job(job.job_uuid).state is not JobState.RUNNING:
            continue  # its run ended, well or badly, while we looked
        if job.cancel_requested or (run is not None and run.status is dg.DagsterRunStatus.CANCELED):
            ledger.canceled(job.job_uuid, actor="reconciler")
            canceled.append(job.job_uuid)
        else:
            requeue(job.job_uuid, actor="reconciler")
            requeued.append(job.job_uuid)
    lost = []
    for job, run in _find_unbegun(ledger, instance, starting=starting):
        if run is None:
            ledger.undispatch(job.job_uuid)
            lost.append(job.job_uuid)
        elif run.status is dg.DagsterRunStatus.CANCELED:
            ledger.canceled(job.job_uuid, actor="reconciler")
            canceled.append(job.job_uuid)
        else:
            requeue(job.job_uuid, actor="reconciler")
            requeued.append(job.job_uuid)
    return Reconciled(
        dead_runs=tuple(dead), requeued=tuple(requeued), canceled=tuple(canceled), redispatched=tuple(lost)
    )


def _report_dead_runs(instance: dg.DagsterInstance, *, starting: bool) -> list[str]:
    """Report failed every unfinished run of this machine whose process is gone."""
    dead = []
    for run in instance.get_runs(dg.RunsFilter(statuses=list(UNFINISHED)), limit=1000):
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


def build_crash_catcher(*, ledger: Ledger) -> dg.SensorDefinition:
    """Return the sensor that reconciles while the system runs."""

    @dg.sensor(
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Finds runs whose process died and queues their songs again.",
    )
    def crash_catcher(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        done = reconcile(ledger, context.instance, starting=False)
        return dg.SkipReason(done.describe() or f"all runs on {socket.gethostname()} are alive")

    return crash_catcher
