"""The state machine of a job (JOB-001): which state may follow which.

Every change of state goes through `check_transition`; how a change is stored is the store's business.
"""

from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.errors import ErrorCode, failure

_QUEUED, _RUNNING, _HELD = JobState.QUEUED, JobState.RUNNING, JobState.HELD
_ENDED = (JobState.COMPLETED, JobState.FAILED, JobState.CANCELED)

FOLLOWERS: dict[JobState | None, tuple[JobState, ...]] = {
    None: (_QUEUED, _RUNNING, JobState.FAILED),  # made by an upload, by a run without a job, by a refusal
    _QUEUED: (_RUNNING, _HELD, _QUEUED, JobState.FAILED, JobState.CANCELED),
    _RUNNING: (_RUNNING, _HELD, _QUEUED, *_ENDED),
    _HELD: (_RUNNING, _QUEUED, JobState.FAILED, JobState.CANCELED),
    JobState.COMPLETED: (),
    JobState.FAILED: (),
    JobState.CANCELED: (),
}
"""A job that ended stays so: trying again is a new job."""


def check_transition(before: JobState | None, *, after: JobState, subject: str) -> None:
    """Refuse a change of state that the machine does not know.

    Raises:
        PermanentFailure: with `ILLEGAL_TRANSITION`, naming `subject` and both states.
    """
    if after not in FOLLOWERS[before]:
        raise failure(
            ErrorCode.ILLEGAL_TRANSITION, f"{subject} is {before.value if before else 'new'} and cannot become {after}"
        )
