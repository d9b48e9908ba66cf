"""What users use of what is limited: bytes stored, songs and minutes of the last day, jobs that run.

Bytes are counted when they are written: the original when its song is registered, a file that is refused unread when
it is quarantined, a stage's files when its artifact is persisted; all are taken off when they are discarded.
`stored_artifacts` has a row for each; a user's sum stands in `users`, so that asking costs one row however many songs
there are. What is counted before it is written is decided by `reservations`; what counts for a day or a minute is
found in `shares`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.sql.elements import ColumnElement

from ironclad_assets.contracts.v1.job import JobState, SongIdentity
from ironclad_assets.contracts.v1.limits import EffectiveLimits, SystemLimits, Usage
from ironclad_assets.ledger.database import Database
from ironclad_assets.ledger.rows import in_parts, song_of, utc_now
from ironclad_assets.ledger.shares import audio_minutes, drop_old_shares, songs_per_day, submissions
from ironclad_assets.ledger.tables import jobs, songs, stored_artifacts, users
from ironclad_assets.ledger.tombstones import has_tombstone, without_tombstone
from ironclad_assets.ledger.users import take_user_turn

ORIGINAL = "original"
"""What stands for an original where otherwise a stage does."""

QUARANTINE = "quarantine"
"""What stands there for a file that was refused unread and is kept for its user to see."""

RESERVED = "reserved:"
"""What stands before a stage's name where its bytes are not written yet, only promised to a run."""

BATCH = 100
"""Songs whose account is mended in one transaction."""

PAGE = 1000
"""Songs that are read at once."""

NEAR = 0.9
"""Share of a limit from which on people are warned."""


class Accounts:
    """What is used, in one ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, user_id: str) -> Usage:
        """Return what a user uses now; of somebody unknown it is nothing."""
        with self._database.read() as connection:
            return read_usage(connection, user_id)

    def system(self) -> Usage:
        """Return what all users together use now."""
        with self._database.read() as connection:
            return read_usage(connection, None)

    def stored(self, song: str) -> dict[str, int]:
        """Return the bytes stored for a song, by stage; its original is `ORIGINAL`. What is reserved is not stored."""
        chosen = select(stored_artifacts.c.stage, stored_artifacts.c.size_bytes).where(
            stored_artifacts.c.song == song, ~_is_reserved()
        )
        with self._database.read() as connection:
            return {row.stage: row.size_bytes for row in connection.execute(chosen)}

    def songs(self) -> Iterator[SongIdentity]:
        """Yield every song, a page at a time, in the order of their ids."""
        after = ""
        while True:
            chosen = select(songs).where(songs.c.song > after).order_by(songs.c.song).limit(PAGE)
            with self._database.read() as connection:
                found = [song_of(row) for row in connection.execute(chosen).mappings()]
            if not found:
                return
            yield from found
            after = found[-1].song

    def drop_old_shares(self) -> None:
        """Forget of deleted songs what counts for no limit of a day any more."""
        with self._database.write() as connection:
            drop_old_shares(connection)

    def record(self, song: str, stage: str, *, size_bytes: int, run_id: str | None = None) -> None:
        """Note that `stage` of the song now has `size_bytes` on disk, in place of what it had.

        What was reserved for the stage ends, unless another run than `run_id` may have reserved it.
        """
        with self._database.write() as connection:
            record_stored(connection, song, stage, size_bytes=size_bytes, run_id=run_id)

    def forget(self, song: str, stage: str | None = None) -> None:
        """Note that `stage` of the song, or everything of it, is gone from disk."""
        with self._database.write() as connection:
            forget_stored(connection, song, stage)

    def replace(self, found: Iterable[tuple[str, Mapping[str, int]]]) -> int:
        """Make the account equal to what was found on disk; return how many rows differed.

        Args:
            found: songs, each with its bytes by stage; a stage that is not named is forgotten. Songs that are not
                named, or that the ledger does not know, are left alone, as is what running jobs have reserved.
        """
        differing = 0
        for batch in _batches(found):
            with self._database.write() as connection:
                differing += _replace(connection, dict(batch))
        with self._database.read() as connection:
            everybody = connection.execute(select(users.c.user_id).order_by(users.c.user_id)).scalars().all()
        for user_id in everybody:
            with self._database.write() as connection:
                take_user_turn(connection, user_id)
                _sum_up(connection, user_id)
        return differing


def _batches(found: Iterable[tuple[str, Mapping[str, int]]]) -> Iterator[list[tuple[str, Mapping[str, int]]]]:
    rest = iter(found)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _replace(connection: Connection, found: Mapping[str, Mapping[str, int]]) -> int:
    """Make the account of some songs equal to what was found; songs are locked before their users' turns are taken."""
    held = select(songs.c.song, songs.c.user_id).where(songs.c.song.in_(list(found))).order_by(songs.c.song)
    owners = {row.song: row.user_id for row in connection.execute(held.with_for_update())}
    for user_id in sorted(set(owners.values())):
        take_user_turn(connection, user_id)
    of_these = stored_artifacts.c.song.in_(list(owners))
    being_written = _is_reserved() & stored_artifacts.c.song.in_(
        select(jobs.c.song).where(jobs.c.song.in_(list(owners)), jobs.c.state == JobState.RUNNING.value)
    )
    columns = (stored_artifacts.c.song, stored_artifacts.c.stage, stored_artifacts.c.size_bytes)
    rows = connection.execute(select(*columns).where(of_these, ~being_written))
    had = {(row.song, row.stage): row.size_bytes for row in rows}
    counted = without_tombstone(connection, "song", list(owners))
    wanted = {(song, stage): size for song in counted for stage, size in found[song].items()}
    differing = sorted(key for key in had.keys() | wanted.keys() if had.get(key) != wanted.get(key))
    for song, stage in differing:
        this = (stored_artifacts.c.song == song) & (stored_artifacts.c.stage == stage)
        _take_off(connection, owners[song], this)
        if (song, stage) in wanted:
            _put_on(connection, owners[song], song, stage, size_bytes=wanted[song, stage])
    return len(differing)


def record_stored(connection: Connection, song: str, stage: str, *, size_bytes: int, run_id: str | None = None) -> None:
    """Note that `stage` of the song now has `size_bytes` on disk, as `Accounts.record` does, inside a transaction.

    A song that is being deleted counts for nobody: what its last stage still writes goes with it, and its user may
    have come back as another one meanwhile.
    """
    user_id = owner_of(connection, song)
    take_user_turn(connection, user_id)
    if has_tombstone(connection, "song", song):
        return
    replaced = _these(song, stage)
    if run_id is not None and not is_running(connection, song, run_id=run_id):
        replaced &= ~_is_reserved()
    _take_off(connection, user_id, replaced)
    _put_on(connection, user_id, song, stage, size_bytes=size_bytes)


def forget_stored(connection: Connection, song: str, stage: str | None = None) -> None:
    """Note that `stage` of the song, or everything of it, is gone from disk, inside a transaction."""
    user_id = owner_of(connection, song)
    take_user_turn(connection, user_id)
    _take_off(connection, user_id, _these(song, stage))


def record_reserved(connection: Connection, song: str, stage: str, *, size_bytes: int) -> None:
    """Count what a run is about to write for `stage` beyond what that has; nothing may be reserved for it yet."""
    user_id = owner_of(connection, song)
    take_user_turn(connection, user_id)
    _put_on(connection, user_id, song, f"{RESERVED}{stage}", size_bytes=size_bytes)


def has_reserved(connection: Connection, song: str) -> bool:
    """Return whether anything is reserved for the song."""
    chosen = select(stored_artifacts.c.stage).where(stored_artifacts.c.song == song, _is_reserved()).limit(1)
    return connection.execute(chosen).first() is not None


def forget_reserved(connection: Connection, song: str, stage: str | None = None) -> None:
    """Count no longer what was reserved for `stage` of the song, or for any."""
    user_id = owner_of(connection, song)
    take_user_turn(connection, user_id)
    which = _is_reserved() if stage is None else stored_artifacts.c.stage == f"{RESERVED}{stage}"
    _take_off(connection, user_id, (stored_artifacts.c.song == song) & which)


def forget_stored_of(connection: Connection, chosen: Sequence[str], stage: str) -> None:
    """Note that `stage` of each of these songs is gone from disk, inside a transaction."""
    _take_owners_turns(connection, chosen)
    for song in chosen:
        forget_stored(connection, song, stage)


def forget_all_stored(connection: Connection, chosen: Sequence[str]) -> None:
    """Note that everything of these songs is gone from disk, however many, inside a transaction."""
    for part in in_parts(sorted(chosen)):
        _take_owners_turns(connection, part)
        these = stored_artifacts.c.song.in_(part)
        summed = (
            select(songs.c.user_id, func.sum(stored_artifacts.c.size_bytes).label("size_bytes"))
            .join(stored_artifacts, stored_artifacts.c.song == songs.c.song)
            .where(these)
            .group_by(songs.c.user_id)
        )
        for row in connection.execute(summed).all():
            _add(connection, row.user_id, -int(row.size_bytes))
        connection.execute(delete(stored_artifacts).where(these))


def stored_bytes(connection: Connection, song: str, stage: str) -> int:
    """Return the bytes counted for `stage` of the song, inside a transaction."""
    these = (stored_artifacts.c.song == song) & (stored_artifacts.c.stage == stage)
    chosen = select(stored_artifacts.c.size_bytes).where(these)
    return int(connection.execute(chosen).scalar() or 0)


def read_usage(
    connection: Connection, user_id: str | None, *, limits: EffectiveLimits | SystemLimits | None = None
) -> Usage:
    """Return what a user (None: all together) uses, inside a transaction.

    With `limits`, what they do not limit is not counted but left at zero: counting costs time.
    """
    counted = {name for name in Usage.model_fields if limits is None or getattr(limits, name, None) is not None}
    values = {name: count(connection, user_id) for name, count in _COUNTS.items() if name in counted}
    return Usage.model_validate(values)


def warn_near(usage: Usage, limits: EffectiveLimits | SystemLimits, *, whose: str) -> tuple[str, ...]:
    """Return a sentence for each limit of which `NEAR` or more is used."""
    found = []
    for name in _COUNTS:
        used, most = getattr(usage, name), getattr(limits, name, None)
        if most and used >= NEAR * most and name != "concurrent_jobs":  # running what one may is no warning
            found.append(f"{whose} uses {used / most:.0%} of {name}: {used:g} of {most:g}")
    return tuple(found)


def _all_stored_bytes(connection: Connection, user_id: str | None) -> int:
    chosen = select(func.sum(users.c.stored_bytes))
    if user_id is not None:
        chosen = chosen.where(users.c.user_id == user_id)
    return max(int(connection.execute(chosen).scalar() or 0), 0)


def _running(connection: Connection, user_id: str | None) -> int:
    chosen = select(func.count()).where(jobs.c.state == JobState.RUNNING.value)
    if user_id is not None:
        chosen = chosen.where(jobs.c.user_id == user_id)
    return int(connection.execute(chosen).scalar_one())


_COUNTS: dict[str, Callable[[Connection, str | None], float]] = {
    "stored_bytes": _all_stored_bytes,
    "songs_per_day": songs_per_day,
    "audio_minutes_per_day": audio_minutes,
    "concurrent_jobs": _running,
    "submissions_per_minute": submissions,
}


def is_running(connection: Connection, song: str, *, run_id: str) -> bool:
    """Return whether the song, whose row is kept from other writers, has a running job of this run."""
    running = (jobs.c.song == song) & (jobs.c.state == JobState.RUNNING.value) & (jobs.c.run_id == run_id)
    return connection.execute(select(jobs.c.job_uuid).where(running)).first() is not None


def _these(song: str, stage: str | None) -> ColumnElement[bool]:
    """Return which entries are of a stage, what is reserved for it included, or of the whole song."""
    of_song = stored_artifacts.c.song == song
    return of_song if stage is None else of_song & stored_artifacts.c.stage.in_([stage, f"{RESERVED}{stage}"])


def _is_reserved() -> ColumnElement[bool]:
    return stored_artifacts.c.stage.startswith(RESERVED)


def _take_off(connection: Connection, user_id: str, these: ColumnElement[bool]) -> None:
    """Remove entries of one user's song."""
    before = int(connection.execute(select(func.sum(stored_artifacts.c.size_bytes)).where(these)).scalar() or 0)
    connection.execute(delete(stored_artifacts).where(these))
    _add(connection, user_id, -before)


def _put_on(connection: Connection, user_id: str, song: str, stage: str, *, size_bytes: int) -> None:
    """Add an entry of one user's song."""
    values = {"song": song, "stage": stage, "size_bytes": size_bytes, "written_at": utc_now()}
    connection.execute(insert(stored_artifacts).values(values))
    _add(connection, user_id, size_bytes)


def owner_of(connection: Connection, song: str) -> str:
    """Return whose the song is, and keep its row: whoever needs both locks the song before taking the user's turn."""
    chosen = select(songs.c.user_id).where(songs.c.song == song)
    return str(connection.execute(chosen.with_for_update(read=True, key_share=True)).scalar() or "")


def _take_owners_turns(connection: Connection, chosen: Sequence[str]) -> None:
    """Keep the rows of songs and take their users' turns, in one order for all who take several."""
    held = select(songs.c.user_id).where(songs.c.song.in_(chosen)).order_by(songs.c.song)
    owners = connection.execute(held.with_for_update(read=True, key_share=True)).scalars().all()
    for user_id in sorted(set(owners)):
        take_user_turn(connection, user_id)


def _add(connection: Connection, user_id: str, size_bytes: int) -> None:
    total = users.c.stored_bytes + size_bytes
    connection.execute(update(users).where(users.c.user_id == user_id).values(stored_bytes=total))


def _sum_up(connection: Connection, user_id: str) -> None:
    """Make the user's sum that of the rows."""
    mine = (songs.c.song == stored_artifacts.c.song) & (songs.c.user_id == user_id)
    summed = select(func.coalesce(func.sum(stored_artifacts.c.size_bytes), 0)).where(mine).scalar_subquery()
    connection.execute(update(users).where(users.c.user_id == user_id).values(stored_bytes=summed))
