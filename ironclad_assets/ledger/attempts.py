"""New attempts that nobody asked for by name: after a failure that may pass, and when what held jobs has gone.

A job that failed for now waits and is tried again a few times (QUEUE-004); a held one goes back into the queue at
its old place. What a crash means is in `runs`, what users and operators ask for in `store`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from ironclad_assets.contracts.v1.job import Job, JobError, JobState
from ironclad_assets.ledger.changes import change_state, lock_ending_job, next_attempt
from ironclad_assets.ledger.database import Database
from ironclad_assets.ledger.progress import seconds_between
from ironclad_assets.ledger.reads import lock_jobs, require_job
from ironclad_assets.ledger.retries import RetryPolicy
from ironclad_assets.ledger.rows import NO_ERROR, error_values, utc_now, utc_time
from ironclad_assets.ledger.runs import UNBOUND
from ironclad_assets.ledger.tables import history, jobs


@dataclass(frozen=True, slots=True)
class HeldJob:
    """What decides whether a held job may go on.

    `holds` is how often it has been held, `held_s` how long it has been now: negative where the clock was set back.
    """

    job_uuid: str
    user_id: str
    code: str
    stage: str | None
    engine: str | None
    holds: int
    held_s: float


class Attempts:
    """The further attempts of one ledger's jobs."""

    def __init__(self, database: Database, *, policy: RetryPolicy) -> None:
        self._database = database
        self._policy = policy

    def later(self, job_uuid: str, error: JobError, *, actor: str) -> Job:
        """Queue a job that failed for now as a new attempt that waits, or fail it where it was tried often enough.

        A job that somebody wanted to cancel is canceled.
        """
        with self._database.write() as connection:
            job = lock_ending_job(connection, job_uuid)
            if job.cancel_requested:
                return change_state(connection, job, to=JobState.CANCELED, actor=actor, values={})
            failures = job.failures + 1
            values = {**error_values(error), "failures": failures}
            why = f"{error.code}: {error.detail}"
            if self._policy.is_last(failures):
                values |= {"dispatched_at": None}  # this run is counted among the failures: see `turns.times_worked_on`
                detail = f"{why} (attempt {failures} of {self._policy.attempts})"
                return change_state(connection, job, to=JobState.FAILED, actor=actor, values=values, detail=detail)
            wait_s = self._policy.draw_wait_s(failures)
            values |= {
                **UNBOUND,
                "attempt": next_attempt(connection, job.song),
                "not_before": utc_time(seconds_ago=-wait_s),
            }
            detail = f"{why}; tried again in {wait_s:.0f} s (attempt {failures} of {self._policy.attempts} failed)"
            return change_state(connection, job, to=JobState.QUEUED, actor=actor, values=values, detail=detail)

    def held(self) -> list[HeldJob]:
        """Return the held jobs in the order in which they shall go on: by priority, then by submission."""
        engine = jobs.c.resolved["engine"].as_string()
        became_held = (history.c.to_state == JobState.HELD.value) & (history.c.from_state != JobState.HELD.value)
        holds = select(func.count()).where(history.c.job_uuid == jobs.c.job_uuid, became_held).scalar_subquery()
        columns = (jobs.c.job_uuid, jobs.c.user_id, jobs.c.error_code, jobs.c.error_stage, engine, holds)
        chosen = (
            select(*columns, jobs.c.updated_at)
            .where(jobs.c.state == JobState.HELD.value)
            .order_by(jobs.c.priority.desc(), jobs.c.sequence)
        )
        now = utc_now()
        with self._database.read() as connection:
            return [
                HeldJob(job_uuid, user_id, code or "", stage, name, times, seconds_between(since, now))
                for job_uuid, user_id, code, stage, name, times, since in connection.execute(chosen)
            ]

    def count_held(self) -> dict[str, int]:
        """Return how many jobs are held for each reason."""
        counted = (
            select(func.coalesce(jobs.c.error_code, ""), func.count())
            .where(jobs.c.state == JobState.HELD.value)
            .group_by(jobs.c.error_code)
        )
        with self._database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(counted)}

    def release(self, job_uuids: Sequence[str], *, actor: str) -> int:
        """Queue those that are still held, together, each as a new attempt at its old place; return how many."""
        released = 0
        with self._database.write() as connection:
            lock_jobs(connection, job_uuids)
            for job_uuid in job_uuids:
                job = require_job(connection, job_uuid, lock=True)
                if job.state is not JobState.HELD:
                    continue
                values = {**UNBOUND, **NO_ERROR, "attempt": next_attempt(connection, job.song)}
                change_state(connection, job, to=JobState.QUEUED, actor=actor, values=values)
                released += 1
        return released
