"""What can be asked of the ledger. Nothing here writes."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, Select, func, select
from sqlalchemy.sql.elements import ColumnElement

from ironclad_assets.contracts.v1.job import HistoryEntry, Job, JobState, SongIdentity
from ironclad_assets.errors import ErrorCode, failure
from ironclad_assets.ledger.database import Database
from ironclad_assets.ledger.progress import seconds_between
from ironclad_assets.ledger.rows import (
    history_of,
    in_parts,
    job_query,
    read_jobs,
    song_of,
    utc_now,
    utc_time,
    worker_of,
)
from ironclad_assets.ledger.tables import history, jobs, songs
from ironclad_assets.ledger.tombstones import has_tombstone, require_not_deleted
from ironclad_assets.ledger.worker import WorkerIdentity

ACTIVE_STATES = tuple(state.value for state in JobState if state.active)

LEAST_PREFIX = 4
"""Characters of a job id that are enough to look for it."""


class LedgerReads:
    """Questions to one ledger."""

    def __init__(self, url: str) -> None:
        self._database = Database(url)

    def with_progress(self, found: list[Job]) -> list[Job]:
        """Return the jobs with what is known of their progress beside the ledger: here nothing."""
        return found

    def song(self, song: str) -> SongIdentity:
        """Return the song.

        Raises:
            PermanentFailure: with `UNKNOWN_SONG`.
        """
        with self._database.read() as connection:
            return require_song(connection, song)

    def has_song(self, song: str) -> bool:
        """Return whether the song is there, and neither deleted nor about to be."""
        chosen = select(songs.c.song).where(songs.c.song == song)
        with self._database.read() as connection:
            there = connection.execute(chosen).first() is not None
            return there and not has_tombstone(connection, "song", song)

    def find_song(self, user_id: str, sha256: str) -> SongIdentity | None:
        """Return the user's song with these bytes."""
        with self._database.read() as connection:
            return find_song(connection, user_id, sha256=sha256)

    def songs_named(self, user_id: str, stem: str) -> list[SongIdentity]:
        """Return the user's songs whose original name is `stem` with any extension, newest first."""
        chosen = select(songs).where(
            songs.c.user_id == user_id,
            songs.c.sha256.is_not(None),
            songs.c.original_name.startswith(f"{stem}.", autoescape=True),
        )
        with self._database.read() as connection:
            found = [song_of(row) for row in connection.execute(chosen.order_by(songs.c.song.desc())).mappings()]
        return [song for song in found if song.original_name.rpartition(".")[0] == stem]

    def job(self, job_uuid: str) -> Job:
        """Return the job.

        Raises:
            PermanentFailure: with `UNKNOWN_JOB`.
        """
        with self._database.read() as connection:
            found = require_job(connection, job_uuid)
        return self.with_progress([found])[0]

    def resolve(self, text: str) -> Job:
        """Return the job that people mean by `text`: a job id, a song id (its latest job), or the start of a job id.

        Raises:
            PermanentFailure: with `UNKNOWN_JOB`, also where several jobs start that way.
        """
        with self._database.read() as connection:
            exact = first_job(connection, job_query.where(jobs.c.job_uuid == text)) or latest_job(connection, text)
            if exact is not None:
                return exact
            found: list[Job] = []
            if len(text) >= LEAST_PREFIX:
                found = select_jobs(
                    connection, job_query.where(jobs.c.job_uuid.startswith(text, autoescape=True)).limit(2)
                )
            if not found:
                require_not_deleted(connection, "job", text)
                require_not_deleted(connection, "song", text)
        if len(found) == 1:
            return found[0]
        why = "is the start of several job ids; give more of it" if found else "is no job id, start of one, or song id"
        raise failure(ErrorCode.UNKNOWN_JOB, f"{text!r} {why}")

    def latest_job(self, song: str) -> Job | None:
        """Return the song's newest job, whatever its state."""
        with self._database.read() as connection:
            return latest_job(connection, song)

    def active_job(self, song: str) -> Job | None:
        """Return the song's queued, running or held job."""
        with self._database.read() as connection:
            return active_job(connection, song)

    def jobs(
        self,
        *,
        user_id: str | None = None,
        states: Iterable[JobState] | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> list[Job]:
        """Return jobs, newest first; those that were submitted before the job `before`, if one is named."""
        chosen = job_query.order_by(jobs.c.sequence.desc()).limit(limit)
        if before is not None:
            chosen = chosen.where(
                jobs.c.sequence < select(jobs.c.sequence).where(jobs.c.job_uuid == before).scalar_subquery()
            )
        if user_id is not None:
            chosen = chosen.where(jobs.c.user_id == user_id)
        if states is not None:
            chosen = chosen.where(jobs.c.state.in_([state.value for state in states]))
        with self._database.read() as connection:
            found = select_jobs(connection, chosen)
        return self.with_progress(found)

    def jobs_of(self, song: str) -> list[Job]:
        """Return every job of a song, in the order of submission."""
        with self._database.read() as connection:
            return select_jobs(connection, job_query.where(jobs.c.song == song).order_by(jobs.c.sequence))

    def count_by_state(self) -> dict[JobState, int]:
        """Return how many jobs are in each state; every state is there."""
        counted = select(jobs.c.state, func.count()).group_by(jobs.c.state)
        with self._database.read() as connection:
            found = {row[0]: int(row[1]) for row in connection.execute(counted)}
        return {state: found.get(state.value, 0) for state in JobState}

    def completions(self, *, after: int, limit: int) -> list[tuple[int, Job]]:
        """Return jobs that completed after line `after` of the history, in order, each with the line that says so."""
        chosen = select(history.c.sequence, history.c.job_uuid).where(
            history.c.sequence > after, history.c.to_state == JobState.COMPLETED.value
        )
        with self._database.read() as connection:
            rows = connection.execute(chosen.order_by(history.c.sequence).limit(limit)).all()
            found = select_jobs(connection, job_query.where(jobs.c.job_uuid.in_([row.job_uuid for row in rows])))
        by_id = {job.job_uuid: job for job in found}
        return [(int(row.sequence), by_id[row.job_uuid]) for row in rows]

    def dispatched_not_started(self, *, older_than_s: float = 0.0) -> list[Job]:
        """Return queued jobs that a run was asked for at least `older_than_s` seconds ago, oldest first."""
        chosen = job_query.where(jobs.c.state == JobState.QUEUED.value, jobs.c.dispatched_at.is_not(None))
        if older_than_s > 0.0:  # else a clock that was set back would hide what is in its future
            chosen = chosen.where(jobs.c.dispatched_at <= utc_time(seconds_ago=older_than_s))
        with self._database.read() as connection:
            return select_jobs(connection, chosen.order_by(jobs.c.sequence))

    def seconds_since_dispatch(self, job_uuid: str) -> float:
        """Return how long ago a run was asked for the job; 0 where none was."""
        chosen = select(jobs.c.dispatched_at).where(jobs.c.job_uuid == job_uuid)
        with self._database.read() as connection:
            since = connection.execute(chosen).scalar()
        return 0.0 if since is None else max(seconds_between(since, utc_now()), 0.0)

    def running_jobs(self) -> list[tuple[Job, WorkerIdentity]]:
        """Return the running jobs with the worker each is bound to, oldest first."""
        chosen = job_query.where(jobs.c.state == JobState.RUNNING.value).order_by(jobs.c.sequence)
        with self._database.read() as connection:
            rows = list(connection.execute(chosen).mappings())
            found = read_jobs(connection, rows)
        pairs = ((job, worker_of(row)) for job, row in zip(found, rows, strict=True))
        return [(job, worker) for job, worker in pairs if worker is not None]

    def cancel_requested(self, job_uuid: str) -> bool:
        """Return whether somebody wants this job to end; also true once it was canceled. One statement."""
        chosen = select(jobs.c.cancel_requested, jobs.c.state).where(jobs.c.job_uuid == job_uuid)
        with self._database.read() as connection:
            row = connection.execute(chosen).one_or_none()
        return row is not None and (bool(row.cancel_requested) or row.state == JobState.CANCELED)

    def history(self, job_uuid: str) -> list[HistoryEntry]:
        """Return everything that happened to the job's state, in order."""
        chosen = select(history).where(history.c.job_uuid == job_uuid).order_by(history.c.sequence)
        with self._database.read() as connection:
            return [history_of(row) for row in connection.execute(chosen).mappings()]

    def close(self) -> None:
        """Close this process's connections; the next question opens new ones."""
        self._database.close()


def select_jobs(connection: Connection, query: Select[tuple[object, ...]]) -> list[Job]:
    """Return the jobs that `query`, made from `job_query`, finds."""
    return read_jobs(connection, connection.execute(query).mappings())


def first_job(connection: Connection, query: Select[tuple[object, ...]]) -> Job | None:
    """Return the first job that `query` finds."""
    return next(iter(select_jobs(connection, query.limit(1))), None)


def require_job(connection: Connection, job_uuid: str, *, lock: bool = False) -> Job:
    """Return the job; `lock` keeps other writers off its row where the database locks rows."""
    query = job_query.where(jobs.c.job_uuid == job_uuid)
    job = first_job(connection, query.with_for_update(of=jobs) if lock else query)
    if job is None:
        require_not_deleted(connection, "job", job_uuid)
        raise failure(ErrorCode.UNKNOWN_JOB, f"there is no job {job_uuid!r}")
    return job


def latest_job(connection: Connection, song: str) -> Job | None:
    """Return the song's newest job."""
    return first_job(connection, job_query.where(jobs.c.song == song).order_by(jobs.c.attempt.desc()))


def active_job(connection: Connection, song: str) -> Job | None:
    """Return the song's active job, its row kept from other writers where the database locks rows."""
    return first_job(connection, job_query.where(_active(song)).with_for_update(of=jobs))


def active_jobs(connection: Connection, chosen: Sequence[str]) -> list[Job]:
    """Return the active jobs of the songs, their rows kept from other writers where the database locks rows."""
    active = jobs.c.song.in_(chosen) & jobs.c.state.in_(ACTIVE_STATES)
    return select_jobs(connection, job_query.where(active).order_by(jobs.c.sequence).with_for_update(of=jobs))


def lock_jobs(connection: Connection, job_uuids: Sequence[str]) -> None:
    """Keep other writers off several jobs, locked in the order in which everybody locks several."""
    for part in in_parts(job_uuids):
        these = select(jobs.c.sequence).where(jobs.c.job_uuid.in_(part))
        connection.execute(these.order_by(jobs.c.sequence).with_for_update()).all()


def active_worker(connection: Connection, song: str) -> WorkerIdentity | None:
    """Return the worker that the song's active job is bound to."""
    row = connection.execute(select(jobs).where(_active(song))).mappings().first()
    return None if row is None else worker_of(row)


def require_song(connection: Connection, song: str, *, lock: bool = False) -> SongIdentity:
    """Return the song; `lock` keeps other writers off the song where rows are locked.

    Raises:
        PermanentFailure: `UNKNOWN_SONG`; or `DELETED` where it was, and with `lock` also where it is about to be.
    """
    query = select(songs).where(songs.c.song == song)
    row = connection.execute(query.with_for_update() if lock else query).mappings().first()
    if row is None or lock:  # who locks a song wants to begin something with it
        require_not_deleted(connection, "song", song)
    if row is None:
        raise failure(ErrorCode.UNKNOWN_SONG, f"there is no song {song!r}")
    return song_of(row)


def find_song(connection: Connection, user_id: str, *, sha256: str) -> SongIdentity | None:
    """Return the user's song with these bytes."""
    chosen = select(songs).where(songs.c.user_id == user_id, songs.c.sha256 == sha256)
    row = connection.execute(chosen).mappings().first()
    return None if row is None else song_of(row)


def _active(song: str) -> ColumnElement[bool]:
    return (jobs.c.song == song) & jobs.c.state.in_(ACTIVE_STATES)
