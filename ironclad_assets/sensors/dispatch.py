"""Dispatch: queued jobs of the ledger become partitions and run requests, a few at a time.

The ledger is the queue; Dagster's own queue is kept shallow so that order, priority, pause and cancel stay
decided in one place. What holds a job, and how anybody finds out that it may go on, is a table here.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from functools import cache

import dagster as dg

from ironclad_assets.contracts.v1.job import Job
from ironclad_assets.errors import ErrorCode
from ironclad_assets.io_managers.contract_io_manager import JOB_TAG
from ironclad_assets.ledger.attempts import HeldJob
from ironclad_assets.ledger.pauses import PauseKind
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.partitions import PIPELINE_VERSION, songs

SEPARATION = "stems"
"""The stage in which an engine works."""

MOST_REQUESTS = 25
"""Run requests in one tick: each run key costs Dagster a query."""

LEAST_DEPTH = 4
MOST_DEPTH = 25
"""Bounds of how many runs may wait in Dagster's queue, which knows neither turns nor pauses."""

FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 600.0
MOST_TOGETHER = 100
"""Held jobs that are queued again in one transaction."""

STORAGE_CODES = frozenset(
    code.code for code in (ErrorCode.STORAGE_AWAY, ErrorCode.STORAGE_FULL, ErrorCode.STORAGE_READ_ONLY)
)

MayGo = Callable[[HeldJob], bool]
"""Answers whether the reason for which a job is held has gone, or is worth another look."""


def run_key(job: Job) -> str:
    """Return the run key of one attempt; Dagster starts at most one run for it, for ever."""
    return f"{job.song}:{PIPELINE_VERSION}:{job.attempt}"


def release_held(ledger: Ledger, *, at_once: bool) -> int:
    """Queue again the jobs whose reason to wait has gone, each at its old place; return how many.

    Args:
        ledger: the job ledger.
        at_once: the store was away or full as a whole and has just come back, so nobody needs to wait for it.
    """
    held = ledger.attempts.held()
    if not held:
        return 0
    questions = _questions(ledger, at_once=at_once)
    ready = [job.job_uuid for job in held if job.code in questions and questions[job.code](job)]
    batches = (ready[at : at + MOST_TOGETHER] for at in range(0, len(ready), MOST_TOGETHER))
    return sum(ledger.attempts.release(batch, actor="dispatcher") for batch in batches)


def _questions(ledger: Ledger, *, at_once: bool) -> Mapping[str, MayGo]:
    """Return for each code that holds jobs how to find out whether one may go on."""
    paused = {(pause.kind, pause.subject) for pause in ledger.pauses.all()}
    accepted = cache(ledger.terms.accepted)
    return {
        **dict.fromkeys(STORAGE_CODES, lambda held: at_once or has_waited(held)),
        ErrorCode.SCANNER_AWAY.code: has_waited,
        ErrorCode.TERMS_REQUIRED.code: lambda held: accepted(held.user_id),
        ErrorCode.PAUSED.code: lambda held: not is_paused(held, paused=paused),
    }


def has_waited(held: HeldJob) -> bool:
    """Return whether a held job waited long enough; twice as long with every hold, up to `LONGEST_WAIT_S`.

    A clock that was set back counts as having waited.
    """
    wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(held.holds - 1, 16))
    return not 0.0 <= held.held_s < wait_s


def is_paused(held: HeldJob, *, paused: Set[tuple[PauseKind, str]]) -> bool:
    """Return whether one of the pauses `paused` would stop the job again at the stage where it is."""
    mine = {(PauseKind.ALL, ""), (PauseKind.USER, held.user_id), (PauseKind.STAGE, held.stage or "")}
    if held.stage == SEPARATION:
        mine.add((PauseKind.ENGINE, held.engine or ""))
    return not mine.isdisjoint(paused)


def queue_depth(instance: dg.DagsterInstance) -> int:
    """Return how many runs may wait in Dagster's queue: enough to keep it busy, so few that turns stay fair."""
    at_once = instance.get_concurrency_config().run_queue_config
    most = MOST_DEPTH if at_once is None or at_once.max_concurrent_runs < 0 else at_once.max_concurrent_runs + 2
    return min(max(most, LEAST_DEPTH), MOST_DEPTH)


def choose_jobs(ledger: Ledger, *, depth: int) -> list[Job]:
    """Return the next jobs to dispatch so that at most `depth` wait in Dagster's queue."""
    room = min(MOST_REQUESTS, depth - ledger.queue.count_dispatched())
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
