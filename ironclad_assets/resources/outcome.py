"""How a failure is told: to the ledger as the job's new state, to Dagster as a failure with its code."""

import dagster as dg

from ironclad_assets.contracts.v1.job import Job, JobError
from ironclad_assets.errors import (
    ChildKilled,
    ErrorCode,
    IroncladError,
    JobCanceled,
    StorageUnavailable,
    TransientFailure,
)
from ironclad_assets.ledger.store import Ledger

HOLDING = frozenset({ErrorCode.PAUSED, ErrorCode.SCANNER_AWAY, ErrorCode.TERMS_REQUIRED})
"""Reasons beside storage for which a job is held: nothing is wrong with it, and the dispatcher sees when they go."""


def settle_failure(
    ledger: Ledger, *, job_uuid: str, stage: str, error: IroncladError, run_id: str | None = None
) -> Job:
    """Give the job the state that `error` means, and return it: canceled, held, queued for later, or failed.

    A run, `run_id`, that was given up for dead and goes on says nothing about a job that is another run's by now.
    """
    actor = f"stage:{stage}"
    job = ledger.job(job_uuid)
    is_taken = run_id is not None and job.run_id != run_id
    if not job.state.active or is_taken or error.code is ErrorCode.SUPERSEDED:  # whoever was faster speaks for it
        return job
    if isinstance(error, JobCanceled):
        return ledger.canceled(job_uuid, actor=actor)
    record = JobError(code=error.code.code, detail=error.detail, remedy=error.code.facts.remedy, stage=stage)
    if isinstance(error, StorageUnavailable) or error.code in HOLDING:
        return ledger.hold(job_uuid, record, actor=actor)
    if may_pass(error):
        return ledger.attempts.later(job_uuid, record, actor=actor)
    return ledger.fail(job_uuid, record, actor=actor)


def may_pass(error: IroncladError) -> bool:
    """Return whether another attempt may go better by itself; what a stage has tried again already does not count."""
    tried = isinstance(error, ChildKilled) or error.code is ErrorCode.OUT_OF_MEMORY
    return isinstance(error, TransientFailure) and not tried


def describe_failure(error: IroncladError) -> dict[str, dg.MetadataValue]:
    """Return code, reason, detail and remedy as metadata for the Dagster UI."""
    facts = error.code.facts
    return {
        "error_code": dg.MetadataValue.text(error.code.code),
        "reason": dg.MetadataValue.text(facts.reason),
        "detail": dg.MetadataValue.text(error.detail),
        "remedy": dg.MetadataValue.text(facts.remedy),
        "permanent": dg.MetadataValue.bool(error.permanent),
    }


def dagster_failure(error: IroncladError) -> dg.Failure:
    """Return the Dagster failure that no retry policy repeats; the ledger alone decides about retries."""
    return dg.Failure(description=error.describe(), metadata=describe_failure(error), allow_retries=False)
