"""What users want by default, and what a job's run made of it.

A default is looked up when the job's run begins, not when the job is made: it then holds for everything that
waits, dropped files included. What came of it is written into the job once, so that its later stages, a run
that takes over after a crash, and whoever reads the history see the same.
"""

from sqlalchemy import Connection, delete, insert, select, update

from ironclad_assets.contracts.v1.job import Job
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.ledger.reads import LedgerReads, require_job
from ironclad_assets.ledger.rows import utc_now, write_history
from ironclad_assets.ledger.tables import jobs, user_defaults


class Defaults(LedgerReads):
    """The part of the ledger that knows defaults."""

    def user_defaults(self, user_id: str) -> JobOptions:
        """Return what the user wants by default; only what was set is named in it."""
        chosen = select(user_defaults.c.options).where(user_defaults.c.user_id == user_id)
        with self._database.read() as connection:
            found = connection.execute(chosen).scalar()
        return JobOptions.model_validate(found or {})

    def set_user_defaults(self, user_id: str, options: JobOptions) -> None:
        """Replace the user's defaults by what `options` names; naming nothing removes them."""
        named = options.named()
        with self._database.write() as connection:
            connection.execute(delete(user_defaults).where(user_defaults.c.user_id == user_id))
            if named:
                values = {"user_id": user_id, "options": named, "updated_at": utc_now()}
                connection.execute(insert(user_defaults).values(values))

    def resolve_job(self, job_uuid: str, options: JobOptions, *, actor: str, detail: str) -> Job:
        """Write what was chosen for a job into it and its history; what was written before stays."""
        with self._database.write() as connection:
            job = require_job(connection, job_uuid, lock=True)
            if job.resolved is not None:
                return job
            values = {"resolved": options.model_dump(mode="json"), "updated_at": utc_now()}
            connection.execute(update(jobs).where(jobs.c.job_uuid == job_uuid).values(values))
            _write(connection, job, actor=actor, detail=detail)
            return require_job(connection, job_uuid)

    def note(self, job_uuid: str, *, actor: str, detail: str) -> None:
        """Write something that changed no state into a job's history."""
        with self._database.write() as connection:
            _write(connection, require_job(connection, job_uuid), actor=actor, detail=detail)


def _write(connection: Connection, job: Job, *, actor: str, detail: str) -> None:
    """Write into a job's history what changes no state."""
    state, asked = job.state, job.request_id
    write_history(connection, job.job_uuid, actor=actor, before=state, after=state, detail=detail, request_id=asked)
