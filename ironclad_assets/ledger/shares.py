"""What each user had of a day or a minute: songs taken in, minutes of audio, songs handed in.

Minutes count from when a song came and from when work on it first began. Songs count also after they were deleted:
`forgotten_songs` remembers of each whose it was, when it came and how long it was. Bytes are counted in `usage`.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, Select, case, delete, func, insert, select, true, union
from sqlalchemy.sql.elements import ColumnElement

from ironclad_assets.errors import ErrorCode
from ironclad_assets.ledger.rows import utc_time
from ironclad_assets.ledger.tables import forgotten_songs, jobs, songs, stage_timings

WORK = "staged_chunks"
"""The stage with which work on a song begins: it was measured, and not refused for the minutes of its day."""

DAY_S = 86_400.0
MINUTE_S = 60.0


def day_start() -> str:
    """Return the time from which on songs count for the limits of a day."""
    return utc_time(seconds_ago=DAY_S)


def audio_minutes(
    connection: Connection, user_id: str | None, *, without: str = "", measured_only: bool = False
) -> float:
    """Return the minutes of audio taken in within a day, but for the song `without`.

    A song counts from when it was uploaded, as its size suggests (with `measured_only` not at all) until its length
    is known; one that was refused for this very limit counts not at all. What is worked on later, such as a song
    that was refused on one day and retried on another, counts from when work on it first began.
    """
    length = songs.c.duration_s if measured_only else func.coalesce(songs.c.duration_s, songs.c.expected_s)
    begun = select(_first_begun(user_id, since=day_start()).subquery().c.song)
    counted = union(select(songs.c.song).where(_counts_as_uploaded(user_id)), begun)
    chosen = select(func.sum(length)).where(songs.c.song.in_(counted), songs.c.song != without)
    gone = select(func.sum(forgotten_songs.c.seconds)).where(_recently_forgotten(user_id, since=day_start()))
    return sum(float(connection.execute(query).scalar() or 0.0) for query in (chosen, gone)) / 60.0


def oldest_minutes(connection: Connection, user_id: str) -> str | None:
    """Return from when on the first song counts that does for the minutes of this day; None where there is none."""
    since = day_start()
    begun = _first_begun(user_id, since=since).subquery()
    uploaded = _counts_as_uploaded(user_id) & songs.c.song.not_in(select(begun.c.song))
    return _oldest(
        connection,
        select(func.min(begun.c.at)),
        select(func.min(songs.c.uploaded_at)).where(uploaded),
        _oldest_forgotten(user_id, since=since),
    )


def oldest_upload(connection: Connection, user_id: str | None, *, since: str) -> str | None:
    """Return when the first song after a time came, also where it was deleted meanwhile; None where there was none."""
    there = select(func.min(songs.c.uploaded_at)).where(_recent(user_id, since=since), _submitted(user_id))
    return _oldest(connection, there, _oldest_forgotten(user_id, since=since))


def _oldest(connection: Connection, *queries: Select[str]) -> str | None:
    times = (connection.execute(query).scalar() for query in queries)
    return min((str(at) for at in times if at is not None), default=None)


def _oldest_forgotten(user_id: str | None, *, since: str) -> Select[str]:
    return select(func.min(forgotten_songs.c.uploaded_at)).where(_recently_forgotten(user_id, since=since))


def _counts_as_uploaded(user_id: str | None) -> ColumnElement[bool]:
    """Return whether a song counts for the minutes of this day because it came within it."""
    return _recent(user_id, since=day_start()) & _taken_in() & ~_refused_for_length()


def _first_begun(user_id: str | None, *, since: str) -> Select[str, str]:
    """Return the query of the songs that were first worked on since a time, and when (``at``)."""
    earlier, earlier_stage = jobs.alias(), stage_timings.alias()
    before = (
        select(earlier.c.song)
        .join(earlier_stage, earlier_stage.c.job_uuid == earlier.c.job_uuid)
        .where(earlier.c.song == jobs.c.song, earlier_stage.c.stage == WORK, earlier_stage.c.started_at <= since)
    )
    # No stage begins a day after its job; what is left of the jobs is found by an index.
    lately = select(jobs.c.sequence).where(jobs.c.started_at > utc_time(seconds_ago=2 * DAY_S))
    begun = (
        select(jobs.c.song, func.min(stage_timings.c.started_at).label("at"))
        .join(stage_timings, stage_timings.c.job_uuid == jobs.c.job_uuid)
        .where(stage_timings.c.stage == WORK, stage_timings.c.started_at > since, ~before.exists())
        .where(jobs.c.sequence.in_(lately))
        .group_by(jobs.c.song)
    )
    return begun if user_id is None else begun.where(jobs.c.user_id == user_id)


def remember_shares(connection: Connection, chosen: Sequence[str]) -> None:
    """Let songs that will be forgotten count for the limits of their day, and drop what counts no more.

    A song that came earlier and was first worked on within the day is remembered as if it had come then.
    """
    drop_old_shares(connection)
    begun = _first_begun(None, since=day_start()).subquery()
    length = func.coalesce(songs.c.duration_s, songs.c.expected_s)
    counted = case((begun.c.song.is_(None) & _refused_for_length(), 0.0), else_=length)
    came = _recent(None, since=day_start())
    shares = (
        select(songs.c.user_id, case((came, songs.c.uploaded_at), else_=begun.c.at), counted)
        .join(begun, begun.c.song == songs.c.song, isouter=True)
        .where(songs.c.song.in_(chosen), came | begun.c.song.is_not(None), _taken_in())
    )
    connection.execute(insert(forgotten_songs).from_select(["user_id", "uploaded_at", "seconds"], shares))


def drop_old_shares(connection: Connection) -> None:
    """Forget of deleted songs what counts for no limit of a day any more, inside a transaction."""
    connection.execute(delete(forgotten_songs).where(forgotten_songs.c.uploaded_at <= day_start()))


def _taken_in() -> ColumnElement[bool]:
    """Return whether a song was taken in, not refused unread. Its hash is no sign: a song to be deleted has none."""
    return songs.c.archive_path.startswith("archive/")


def _submitted(user_id: str | None) -> ColumnElement[bool]:
    """Return whether a song counts for the rate: for a user's always, for that of all only where it was taken in."""
    return _taken_in() if user_id is None else true()


def _refused_for_length() -> ColumnElement[bool]:
    """Return whether a song's last job was refused for the minutes of its day: it was not worked on."""
    later = jobs.alias()
    refused = select(jobs.c.song).where(
        jobs.c.song == songs.c.song,
        jobs.c.error_code == ErrorCode.DAILY_LIMIT.code,
        ~select(later.c.song).where(later.c.song == jobs.c.song, later.c.attempt > jobs.c.attempt).exists(),
    )
    return refused.exists()


def songs_per_day(connection: Connection, user_id: str | None) -> int:
    """Return how many songs were taken in within a day."""
    return _count(connection, user_id, _taken_in(), since=day_start())


def submissions(connection: Connection, user_id: str | None) -> int:
    """Return how many songs were handed in within a minute."""
    return _count(connection, user_id, _submitted(user_id), since=utc_time(seconds_ago=MINUTE_S))


def _count(connection: Connection, user_id: str | None, *which: ColumnElement[bool], since: str) -> int:
    """Return how many songs came since a time, those that were deleted meanwhile included."""
    there = select(func.count()).where(_recent(user_id, since=since), *which)
    gone = select(func.count()).where(_recently_forgotten(user_id, since=since))
    return sum(int(connection.execute(query).scalar_one()) for query in (there, gone))


def _recent(user_id: str | None, *, since: str) -> ColumnElement[bool]:
    recent = songs.c.uploaded_at > since
    return recent if user_id is None else (songs.c.user_id == user_id) & recent


def _recently_forgotten(user_id: str | None, *, since: str) -> ColumnElement[bool]:
    recent = forgotten_songs.c.uploaded_at > since
    return recent if user_id is None else (forgotten_songs.c.user_id == user_id) & recent
