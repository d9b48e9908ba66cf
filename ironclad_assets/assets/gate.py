"""Whether a run may begin its job, a stage, or a separation: pauses, and jobs that somebody else works on.

What is stopped here has not begun; it is held, and goes on when the pause is over. What a stage does once it has
begun is in `room`.
"""

import dagster as dg

from ironclad_assets.contracts.v1.job import STAGES, JobState
from ironclad_assets.errors import ErrorCode, IroncladError, PermanentFailure, failure
from ironclad_assets.io_managers.contract_io_manager import JOB_TAG
from ironclad_assets.ledger.pauses import Pause, PauseKind
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.resources.outcome import settle_failure


def refuse_paused_start(ledger: Ledger, run: dg.DagsterRun, *, stage: str) -> None:
    """Hold the job of a run that waited in Dagster's queue while everything, or its user, was paused.

    Runs that an operator starts by hand go on.

    Raises:
        TransientFailure: with `PAUSED`.
    """
    asked = asked_job(run)
    job = None if asked is None else ledger.job(asked)
    if job is None or job.state is not JobState.QUEUED:
        return
    pause = ledger.pauses.of_work_for(job.user_id)
    if pause is not None:
        error = _paused(pause)
        settle_failure(ledger, job_uuid=job.job_uuid, stage=stage, error=error)
        raise error


def refuse_paused(ledger: Ledger, kind: PauseKind, subject: str) -> None:
    """Refuse to begin a stage, or work of an engine, that is paused.

    Raises:
        TransientFailure: with `PAUSED`.
    """
    pause = ledger.pauses.of(kind, subject)
    if pause is not None:
        raise _paused(pause)


def refuse_part_of_waiting(ledger: Ledger, run: dg.DagsterRun, *, song: str) -> None:
    """Refuse a run of some stages, started by hand, while the song's job waits: it would end that job too early.

    Raises:
        PermanentFailure: with `JOB_ACTIVE`.
    """
    if asked_job(run) is not None or last_stage(run) == STAGES[-1]:
        return
    job = ledger.active_job(song)
    if job is not None and job.state is not JobState.RUNNING:
        raise PermanentFailure(f"job {job.job_uuid} of this song is {job.state}", code=ErrorCode.JOB_ACTIVE)


def asked_job(run: dg.DagsterRun) -> str | None:
    """Return the job that the dispatcher requested `run` for; None for one started by hand or re-executed."""
    return None if run.parent_run_id else run.tags.get(JOB_TAG)


def last_stage(run: dg.DagsterRun) -> str:
    """Return the last stage that `run` will execute; what stands beside the job is none."""
    if run.step_keys_to_execute:
        chosen = {key for key in run.step_keys_to_execute if key in STAGES}
    elif run.asset_selection:
        chosen = {key.path[-1] for key in run.asset_selection if key.path[-1] in STAGES}
    else:
        chosen = set(STAGES)
    return max(chosen or STAGES, key=STAGES.index)


def _paused(pause: Pause) -> IroncladError:
    return failure(ErrorCode.PAUSED, pause.describe())
