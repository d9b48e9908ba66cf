"""How a job's row comes to be and changes: checked against the state machine, and written to the history.

Every module of the ledger that changes a job's state does it through here, inside its own transaction.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, func, insert, select, update

from ironclad_assets.contracts.v1.job import Job, JobState
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import ErrorCode, failure
from ironclad_assets.ledger.reads import latest_job, require_job, require_song
from ironclad_assets.ledger.rows import Values, history_line, in_parts, new_job_values, utc_now, write_history
from ironclad_assets.ledger.tables import history, jobs
from ironclad_assets.ledger.transitions import check_transition
from ironclad_assets.ledger.usage import forget_reserved, has_reserved, owner_of


def lock_ending_job(connection: Connection, job_uuid: str) -> Job:
    """Return a job, locked, that is about to leave its run; what the run has reserved by now is given back."""
    owner_of(connection, require_job(connection, job_uuid).song)  # from here on no run begins or reserves
    job = require_job(connection, job_uuid)
    if job.state is JobState.RUNNING and has_reserved(connection, job.song):
        forget_reserved(connection, job.song)
    return require_job(connection, job_uuid, lock=True)


def change_state(
    connection: Connection, job: Job, *, to: JobState, actor: str, values: Values, detail: str = ""
) -> Job:
    """Move `job` to the state `to` with `values` in its row, and write that to its history."""
    change_states(connection, [job], to=to, actor=actor, values=values, detail=detail)
    return require_job(connection, job.job_uuid)


def change_states(
    connection: Connection, chosen: Sequence[Job], *, to: JobState, actor: str, values: Values, detail: str = ""
) -> None:
    """Move jobs to the state `to` with the same `values` in their rows, and write that to the history of each."""
    for job in chosen:
        check_transition(job.state, after=to, subject=f"job {job.job_uuid}")
    row = {**values, "state": to.value, "updated_at": utc_now()}
    for part in in_parts(chosen):
        connection.execute(update(jobs).where(jobs.c.job_uuid.in_([job.job_uuid for job in part])).values(row))
        lines = [
            history_line(
                job.job_uuid, actor=actor, before=job.state, after=to, detail=detail, request_id=job.request_id
            )
            for job in part
        ]
        connection.execute(insert(history), lines)


def add_attempt(
    connection: Connection,
    song: str,
    *,
    options: JobOptions | None,
    state: JobState,
    actor: str,
    replay_from: str | None = None,
    detail: str = "",
) -> Job:
    """Add a job for a song that has no active one, with `options`, else those of its latest job.

    Raises:
        PermanentFailure: the song was refused before it was taken in, so there is nothing to work on.
    """
    identity = require_song(connection, song)
    latest = latest_job(connection, song)
    if not identity.sha256:
        code = ErrorCode.from_code(latest.error.code) if latest and latest.error else ErrorCode.ILLEGAL_TRANSITION
        raise failure(code, f"song {song} ({identity.original_name}) was refused and not taken in; upload it again")
    chosen = options or (latest.options if latest else JobOptions())
    values = new_job_values(
        identity,
        options=chosen,
        attempt=next_attempt(connection, song),
        state=state,
        priority=latest.priority if latest else 0,
    )
    return insert_job(connection, {**values, "replay_from": replay_from}, actor=actor, detail=detail)


def insert_job(connection: Connection, values: Values, *, actor: str, detail: str = "") -> Job:
    """Insert a new job's row and the first line of its history."""
    state = JobState(values["state"])
    check_transition(None, after=state, subject=f"job {values['job_uuid']}")
    connection.execute(insert(jobs).values(values))
    write_history(connection, values["job_uuid"], actor=actor, before=None, after=state, detail=detail)
    return require_job(connection, values["job_uuid"])


def next_attempt(connection: Connection, song: str) -> int:
    """Return the number that no job of `song` has had yet."""
    return (
        int(
            connection.execute(
                select(func.coalesce(func.max(jobs.c.attempt), 0)).where(jobs.c.song == song)
            ).scalar_one()
        )
        + 1
    )
