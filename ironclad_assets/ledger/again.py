"""Which songs shall be worked on again, many at once: those that failed, and those that a release or an engine spoilt.

Nothing is written here; each song's new attempt is made by `Ledger.retry`, which looks again under its lock.
"""

from dataclasses import dataclass

from sqlalchemy import Select, exists, select
from sqlalchemy.sql.elements import ColumnElement

from ironclad_assets.contracts.v1.job import Job, JobState
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import ErrorCode, failure
from ironclad_assets.ledger.database import Database
from ironclad_assets.ledger.pauses import PauseKind
from ironclad_assets.ledger.reads import ACTIVE_STATES, select_jobs
from ironclad_assets.ledger.rows import job_query
from ironclad_assets.ledger.tables import jobs, songs, stage_timings

COMPLETED = jobs.c.state == JobState.COMPLETED.value


@dataclass(frozen=True, slots=True)
class WayBack:
    """One song's newest completed job, and the earlier one to go back to, or why there is none."""

    newest: Job
    earlier: Job | None
    reason: str = ""

    @property
    def options(self) -> JobOptions:
        """What the earlier job was made with."""
        return made_with(self.earlier or self.newest)


class Again:
    """Questions about the songs of one ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def failed(self, *, code: str | None = None, user_id: str | None = None) -> list[Job]:
        """Return the failed jobs that are their songs' latest, oldest first; refused files have nothing to retry."""
        chosen = job_query.where(jobs.c.state == JobState.FAILED.value, ~_followed(), songs.c.sha256.is_not(None))
        if code is not None:
            chosen = chosen.where(jobs.c.error_code == code)
        if user_id is not None:
            chosen = chosen.where(jobs.c.user_id == user_id)
        with self._database.read() as connection:
            return select_jobs(connection, chosen.order_by(jobs.c.sequence))

    def way_back(self, song: str) -> WayBack:
        """Return the song's newest completed job and the one before that was made with other options.

        Raises:
            PermanentFailure: `ILLEGAL_TRANSITION`: there are no two such jobs; the message says what there is.
        """
        with self._database.read() as connection:
            completed = select_jobs(connection, _completed_of(song))
        if not completed:
            raise failure(ErrorCode.ILLEGAL_TRANSITION, f"no job of song {song} has completed")
        newest, *earlier = completed
        found = next((job for job in earlier if made_with(job) != made_with(newest)), None)
        if found is None:
            which = "no other job has completed" if not earlier else "every earlier one was made with the same options"
            raise failure(
                ErrorCode.ILLEGAL_TRANSITION, f"song {song} has nothing to go back to from {newest.job_uuid}: {which}"
            )
        return WayBack(newest, found)

    def ways_back(self, kind: PauseKind, subject: str, *, since: str) -> list[WayBack]:
        """Return the way back for each song whose newest completed job ended at or after `since` and fits.

        Where it leads is the newest job that had completed before `since`.

        Args:
            kind: everything; the jobs of a user; those separated by an engine; those that made a stage anew.
            subject: which user, engine or stage.
            since: UTC in ISO 8601 with microseconds.
        """
        newest = job_query.where(jobs.c.updated_at >= since, COMPLETED, ~_followed(only_completed=True))
        newest = newest.where(*_fits(kind, subject)).order_by(jobs.c.sequence)
        also = select(jobs.c.song).where(jobs.c.updated_at >= since, COMPLETED)
        before = job_query.where(jobs.c.updated_at < since, COMPLETED, jobs.c.song.in_(also)).order_by(jobs.c.attempt)
        active = select(jobs.c.song).where(jobs.c.state.in_(ACTIVE_STATES))
        with self._database.read() as connection:
            earlier = {job.song: job for job in select_jobs(connection, before)}  # the last of a song stays
            busy = set(connection.execute(active).scalars())
            found = select_jobs(connection, newest)
        return [_way(job, before=earlier.get(job.song), is_active=job.song in busy) for job in found]


def made_with(job: Job) -> JobOptions:
    """Return the options that the job's run chose."""
    return job.resolved or job.options


def _way(newest: Job, *, before: Job | None, is_active: bool) -> WayBack:
    if is_active:
        return WayBack(newest, None, "has an active job")
    if before is None:
        return WayBack(newest, None, "nothing had completed before")
    if made_with(before) == made_with(newest):
        return WayBack(newest, None, "was made with the same options before")
    return WayBack(newest, before)


def _completed_of(song: str) -> Select[tuple[object, ...]]:
    return job_query.where(jobs.c.song == song, COMPLETED).order_by(jobs.c.attempt.desc())


def _followed(*, only_completed: bool = False) -> ColumnElement[bool]:
    """Return the condition that a later job of the same song exists."""
    later = jobs.alias("later")
    followed = (later.c.song == jobs.c.song) & (later.c.attempt > jobs.c.attempt)
    if only_completed:
        followed &= later.c.state == JobState.COMPLETED.value
    return exists().where(followed).correlate(jobs)


def _fits(kind: PauseKind, subject: str) -> list[ColumnElement[bool]]:
    if kind is PauseKind.USER:
        return [jobs.c.user_id == subject]
    if kind is PauseKind.ENGINE:
        return [jobs.c.resolved["engine"].as_string() == subject]
    if kind is PauseKind.STAGE:
        made = (stage_timings.c.job_uuid == jobs.c.job_uuid) & (stage_timings.c.stage == subject)
        return [exists().where(made, stage_timings.c.reused.is_(False)).correlate(jobs)]
    return []
