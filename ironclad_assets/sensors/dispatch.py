"""Dispatch: queued jobs of the ledger become partitions and run requests, a few at a time.

The ledger is the queue; Dagster's own queue is kept shallow so that order, priority, pause and cancel stay
decided in one place.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg

from ironclad_assets.contracts.v1.job import Job, JobState
from ironclad_assets.errors import ErrorCode
from ironclad_assets.io_managers.contract_io_manager import JOB_TAG
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.partitions import PIPELINE_VERSION, songs

MOST_REQUESTS = 25
"""Run requests in one tick: each run key costs Dagster a query."""

FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 600.0
MOST_HELD = 1000

STORAGE_CODES = frozenset(
    code.code for code in (ErrorCode.STORAGE_AWAY, ErrorCode.STORAGE_FULL, ErrorCode.STORAGE_READ_ONLY)
)


def run_key(job: Job) -> str:
    """Return the run key of one attempt; Dagster starts at most one run for it, for ever."""
    return f"{job.song}:{PIPELINE_VERSION}:{job.attempt}"


def release_held(ledger: Ledger, *, at_once: bool) -> int:
    """Queue again the jobs that waited for storage; return how many.

    A job that did not fit waits longer after every attempt, up to `LONGEST_PAUSE_S`.

    Args:
        ledger: the job ledger.
        at_once: the store was away or full as a whole and has just come back, so nobody needs to wait.
    """
    waiting = [
        job
        for job in ledger.jobs(states={JobState.HELD}, limit=MOST_HELD)
        if job.error is not None and job.error.code in STORAGE_CODES and (at_once or _has_paused(job))
    ]
    for job in waiting:
        ledger.release(job.job_uuid, actor="dispatcher")
    return len(waiting)


def _has_paused(job: Job) -> bool:
    held_s = (datetime.now(UTC) - datetime.fromisoformat(job.updated_at)).total_seconds()
    pause_s: float = FIRST_PAUSE_S * 2.0 ** min(job.attempt - 1, 16)
    return held_s >= min(LONGEST_PAUSE_S, pause_s)


def choose_jobs(ledger: Ledger, *, depth: int) -> list[Job]:
    """Return the next jobs to dispatch so that at most `depth` wait in Dagster's queue."""
    room = min(MOST_REQUESTS, depth - len(ledger.dispatched_not_started()))
    return ledger.dispatchable(limit=room) if room > 0 else []


def request_runs(jobs: Sequence[Job]) -> dg.SensorResult:
    """Return partitions and run requests of `jobs` in one result, so that a crash loses neither."""
    requests = [
        dg.RunRequest(
            run_key=run_key(job),
            partition_key=job.song,
            tags={
                "ironclad/user": job.user_id,
                JOB_TAG: job.job_uuid,
                "ironclad/trace_id": job.trace_id,
                "ironclad/engine": job.options.engine or "default",
                "dagster/priority": str(job.priority),
            },
        )
        for job in jobs
    ]
    return dg.SensorResult(
        run_requests=requests,
        dynamic_partitions_requests=[songs.build_add_request(sorted({job.song for job in jobs}))],
    )
