"""How a failure is told: to the ledger as the job's new state, to Dagster as a failure with its code."""

import dagster as dg

from ironclad_assets.contracts.v1.job import JobError
from ironclad_assets.errors import ErrorCode, IroncladError, JobCanceled, StorageUnavailable
from ironclad_assets.ledger.store import Ledger


def settle_failure(ledger: Ledger, *, job_uuid: str, stage: str, error: IroncladError) -> None:
    """Give the job the state that `error` means: canceled, held until storage or scanner are back, or failed."""
    actor = f"stage:{stage}"
    if not ledger.job(job_uuid).state.active:
        return
    if isinstance(error, JobCanceled):
        ledger.canceled(job_uuid, actor=actor)
        return
    record = JobError(code=error.code.code, detail=error.detail, remedy=error.code.facts.remedy, stage=stage)
    if isinstance(error, StorageUnavailable) or error.code is ErrorCode.SCANNER_AWAY:
        ledger.hold(job_uuid, record, actor=actor)
    else:
        ledger.fail(job_uuid, record, actor=actor)


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
