"""What a job gets, decided once when its run first needs to know, and written into the job.

The rules are `intake.choice`'s, the defaults the ledger's and the settings'; here they meet the job.
"""

from ironclad_assets.contracts.v1.job import Job
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.contracts.v1.staged_chunks import EngineChoice
from ironclad_assets.intake.choice import Choice, choose_output, system_defaults
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.resources.engines import Engines


def settle_choice(job: Job, *, ledger: Ledger, engines: Engines) -> Choice:
    """Return what `job` gets; what was chosen for it before stays, as long as it can be had.

    Raises:
        Refusal: `UNKNOWN_ENGINE`, `UNKNOWN_MODEL`, `UNKNOWN_TARGET` or `BAD_OPTION`.
    """
    if job.resolved is not None:
        return engines.choose(job.resolved)
    choice = engines.choose(job.options, user=ledger.user_defaults(job.user_id))
    ledger.resolve_job(job.job_uuid, choice.options, actor=f"run:{job.run_id}", detail=choice.reason)
    return choice


def wants_original(job: Job, *, ledger: Ledger) -> bool:
    """Return whether the untouched original is to be filed too, also in a run that chose nothing else."""
    if job.resolved is not None:
        return job.resolved.original
    return next(
        (level.original for level in (job.options, ledger.user_defaults(job.user_id)) if "original" in level.named()),
        False,
    )


def settle_output(job: Job, *, made_by: EngineChoice, ledger: Ledger, engines: Engines) -> JobOptions:
    """Return what is to be delivered of stems that `made_by` made.

    A job that began before the stems were made has chosen already. One that only recombines chooses no engine,
    which may not be installed any more: it delivers from the stems there are.

    Raises:
        Refusal: `BAD_OPTION`: sample format or bit rate do not go with the file format.
    """
    if job.resolved is not None:
        return job.resolved
    options = choose_output(
        job.options,
        made_by=made_by,
        user=ledger.user_defaults(job.user_id),
        system=system_defaults(engines.settings),
    )
    detail = f"from the stems of {made_by.engine} {made_by.version}, model {made_by.model}"
    ledger.resolve_job(job.job_uuid, options, actor=f"run:{job.run_id}", detail=detail)
    return options
