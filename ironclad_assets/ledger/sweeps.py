"""What a sweep asks of the ledger: songs a page at a time, whose leftovers nobody knows, and whether a song is idle.

`hold_idle` is the one place where removal and work exclude each other: whoever begins a run or adds a job takes
the song's row first, so nothing of the song begins while it is held. What is removed is decided in `upkeep/`.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, func, select

from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.ledger.database import Database, take_turns
from ironclad_assets.ledger.tables import audit, history, jobs, songs

PAGE = 500
"""Songs that one question is about."""


@dataclass(frozen=True, slots=True)
class SweptSong:
    """A song with what its jobs came to. Times are UTC in ISO 8601.

    `job_uuid` is its latest job, `state` that job's; `ended_at` when that one changed last.
    """

    song: str
    user_id: str
    sha256: str | None
    archive_path: str
    size_bytes: int
    uploaded_at: str
    job_uuid: str
    state: JobState
    ended_at: str


class Sweeps:
    """Questions about the songs of one ledger, for sweeps."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def songs(self, *, user_id: str | None = None) -> Iterator[SweptSong]:
        """Yield every song with its latest job, ordered by id, a page at a time; each page is as of its reading."""
        last = ""
        while page := self._page(last, user_id=user_id):
            yield from page
            last = page[-1].song

    def find(self, names: Iterable[str]) -> dict[str, SweptSong]:
        """Return those of at most `PAGE` songs that there are."""
        chosen = list(names)
        if not chosen:
            return {}
        with self._database.read() as connection:
            return {one.song: one for one in _with_jobs(connection, songs.c.song.in_(chosen), limit=len(chosen))}

    def known(self, names: Iterable[str]) -> set[str]:
        """Return those of at most `PAGE` names that are a song's id."""
        with self._database.read() as connection:
            found = connection.execute(select(songs.c.song).where(songs.c.song.in_(list(names))))
            return {row[0] for row in found}

    def sharing(self, archive_path: str) -> list[SweptSong]:
        """Return every song whose original this is: users who brought the same bytes share one file."""
        with self._database.read() as connection:
            return _with_jobs(connection, songs.c.archive_path == archive_path, limit=None)

    def referenced(self, archive_paths: Iterable[str]) -> set[str]:
        """Return those of at most `PAGE` paths that are a song's original."""
        chosen = list(archive_paths)
        with self._database.read() as connection:
            found = connection.execute(select(songs.c.archive_path).where(songs.c.archive_path.in_(chosen)).distinct())
            return {row[0] for row in found}

    def jobs_of(self, job_uuids: Iterable[str]) -> dict[str, tuple[str, JobState, str]]:
        """Return user, state and last change of those of at most `PAGE` jobs that there are."""
        chosen = select(jobs.c.job_uuid, jobs.c.user_id, jobs.c.state, jobs.c.updated_at)
        with self._database.read() as connection:
            rows = connection.execute(chosen.where(jobs.c.job_uuid.in_(list(job_uuids))))
            return {row.job_uuid: (row.user_id, JobState(row.state), row.updated_at) for row in rows}

    def newest_line(self) -> str | None:
        """Return the time of the last line of history or audit, the later of both; None in an empty ledger."""
        with self._database.read() as connection:
            lasts = [
                connection.execute(select(table.c.at).order_by(table.c.sequence.desc()).limit(1)).scalar()
                for table in (history, audit)
            ]
        return max((last for last in lasts if last is not None), default=None)

    @contextmanager
    def hold_idle(self, names: Sequence[str], *, archive_path: str | None = None) -> Iterator[tuple[Connection, bool]]:
        """Keep songs from getting work meanwhile; say whether all are there and none has any now.

        With `archive_path`, which is their original, also whether nobody else has it, and nobody registers it
        meanwhile. What happens inside must be quick: on SQLite nobody else writes meanwhile.
        """
        with self._database.write() as connection:
            alone = True
            if archive_path is not None:
                take_original_turn(connection, archive_path)
                sharing = connection.execute(select(songs.c.song).where(songs.c.archive_path == archive_path))
                alone = set(sharing.scalars()) == set(names)
            yield connection, alone and _all_idle(connection, names)

    @contextmanager
    def hold_unknown(self, *, song: str | None = None, archive_path: str | None = None) -> Iterator[Connection | None]:
        """Give a transaction if no song has this id, or no song this original; else None."""
        wanted = songs.c.song == song if song is not None else songs.c.archive_path == archive_path
        with self._database.write() as connection:
            if archive_path is not None:
                take_original_turn(connection, archive_path)
            known = connection.execute(select(songs.c.song).where(wanted).limit(1)).first()
            yield connection if known is None else None

    def _page(self, after: str, *, user_id: str | None) -> list[SweptSong]:
        wanted = songs.c.song > after
        if user_id is not None:
            wanted &= songs.c.user_id == user_id
        with self._database.read() as connection:
            return _with_jobs(connection, wanted, limit=PAGE)


def take_original_turn(connection: Connection, archive_path: str) -> None:
    """Keep whoever registers an original, or lets it go, waiting for each other; before any row is locked."""
    take_turns(connection, f"original:{archive_path}")


def _with_jobs(connection: Connection, wanted: object, *, limit: int | None) -> list[SweptSong]:
    """Return the songs that the condition chooses, each with its latest job; a song always has one."""
    chosen = select(songs).where(wanted).order_by(songs.c.song).limit(limit)  # type: ignore[arg-type]
    found = list(connection.execute(chosen).mappings())
    newest = (
        select(jobs.c.song, func.max(jobs.c.attempt).label("attempt"))
        .where(jobs.c.song.in_([row["song"] for row in found]))
        .group_by(jobs.c.song)
        .subquery()
    )
    latest = select(jobs.c.song, jobs.c.job_uuid, jobs.c.state, jobs.c.updated_at).join(
        newest, (newest.c.song == jobs.c.song) & (newest.c.attempt == jobs.c.attempt)
    )
    by_song = {row["song"]: row for row in connection.execute(latest).mappings()}
    return [_swept(row, job=by_song[row["song"]]) for row in found if row["song"] in by_song]


def _swept(row: RowMapping, *, job: RowMapping) -> SweptSong:
    return SweptSong(
        song=row["song"],
        user_id=row["user_id"],
        sha256=row["sha256"],
        archive_path=row["archive_path"],
        size_bytes=row["size_bytes"],
        uploaded_at=row["uploaded_at"],
        job_uuid=job["job_uuid"],
        state=JobState(job["state"]),
        ended_at=job["updated_at"],
    )


def _all_idle(connection: Connection, names: Sequence[str]) -> bool:
    ordered = sorted(set(names))  # one order for all, so that two who hold several never wait for each other
    for song in ordered:
        row = connection.execute(select(songs.c.song).where(songs.c.song == song).with_for_update()).first()
        if row is None:
            return False
    active = [state.value for state in JobState if state.active]
    busy = select(jobs.c.job_uuid).where(jobs.c.song.in_(ordered), jobs.c.state.in_(active)).limit(1)
    return connection.execute(busy).first() is None
