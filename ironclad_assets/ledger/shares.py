"""What each user had of a day or a minute: songs taken in, minutes of audio, songs handed in.

Minutes count from when a song came and from when work on it first began. Songs count also after they were deleted:
`forgotten_songs` remembers of each whose it was, when it came, from when its minutes count, how long it was, and what
it took of its user's turns, which are the business of `turns`. Bytes are counted in `usage`.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, Select, case, delete, func, insert, select, true, union
from sqlalchemy.sql.elements import ColumnElement

from ironclad_assets.errors import ErrorCode
from ironclad_assets.ledger.rows import utc_time
from ironclad_assets.ledger.tables import forgotten_songs, jobs, songs, stage_timings
from ironclad_assets.ledger.turns import is_lately, seconds_of_audio, times_worked_on

WORK = "staged_chunks"
"""The stage with which work on a song begins: it was measured, and not refused for the minutes of its day."""

DAY_S = 86_400.0
MINUTE_S = 60.0


def audio_minutes(
    connection: Connection, user_id: str | None, *, without: str = "", measured_only: bool = False
) -> float:
    """Return the minutes of audio taken in within a day, but for the song `without`.

    A song counts from when it was uploaded, as its size suggests (with `measured_only` not at all) until its length
    is known; one that was refused for this very limit counts not at all. What is worked on later, such as a song
    that was refused on one day and retried on another, counts from when work on it first began.
    """
    length = songs.c.duration_s if measured_only else func.coalesce(songs.c.duration_s, songs.c.expected_s)
    begun = select(_first_begun(user_id).subquery().c.song)
    counted = union(select(songs.c.song).where(_counts_as_uploaded(user_id)), begun)
    chosen = select(func.sum(length)).where(songs.c.song.in_(counted), songs.c.song != without)
    gone = select(func.sum(forgotten_songs.c.seconds)).where(_forgotten_minutes(user_id))
    return sum(float(connection.execute(query).scalar() or 0.0) for query in (chosen, gone)) / 60.0


def oldest_minutes(connection: Connection, user_id: str) -> str | None:
    """Return from when on the first song counts that does for the minutes of this day; None where there is none."""
    begun = _first_begun(user_id).subquery()
    uploaded = _counts_as_uploaded(user_id) & songs.c.song.not_in(select(begun.c.song))
    return _oldest(
        connection,
        select(func.min(begun.c.at)),
        select(func.min(songs.c.uploaded_at)).where(uploaded),
        select(func.min(forgotten_songs.c.minutes_at)).where(_forgotten_minutes(user_id), forgotten_songs.c.taken_in),
    )


def oldest_upload(connection: Connection, user_id: str | None, *, window_s: float) -> str | None:
    """Return when the first song of the last seconds came, also where it was deleted meanwhile; None for none."""
    there = select(func.min(songs.c.uploaded_at)).where(_recent(user_id, window_s=window_s), _submitted(user_id))
    gone = _recently_forgotten(user_id, window_s=window_s), _submitted(user_id, gone=True)
    return _oldest(connection, there, select(func.min(forgotten_songs.c.uploaded_at)).where(*gone))


def _oldest(connection: Connection, *queries: Select[str]) -> str | None:
    times = (connection.execute(query).scalar() for query in queries)
    return min((str(at) for at in times if at is not None), default=None)


def _counts_as_uploaded(user_id: str | None) -> ColumnElement[bool]:
    """Return whether a song counts for the minutes of this day because it came within it."""
    return _recent(user_id, window_s=DAY_S) & _taken_in() & ~_refused_for_length()


def _first_begun(user_id: str | None) -> Select[str, str]:
    """Return the query of a user's songs, or all, that were first worked on within a day, and when (``at``)."""
    # No stage begins a day after its job; what is left of the jobs is found by an index.
    lately = select(jobs.c.sequence).where(jobs.c.started_at > utc_time(seconds_ago=2 * DAY_S))
    begun = _first_begun_of(jobs.c.sequence.in_(lately))
    return begun if user_id is None else begun.where(jobs.c.user_id == user_id)


def _first_begun_of(which: ColumnElement[bool]) -> Select[str, str]:
    """Return the query of the songs of some jobs that were first worked on within a day, and when (``at``)."""
    earlier, earlier_stage = jobs.alias(), stage_timings.alias()
    before = (
        select(earlier.c.song)
        .join(earlier_stage, earlier_stage.c.job_uuid == earlier.c.job_uuid)
        .where(earlier.c.song == jobs.c.song, earlier_stage.c.stage == WORK)
        .where(~_is_within(earlier_stage.c.started_at, window_s=DAY_S))
    )
    return (
        select(jobs.c.song, func.min(stage_timings.c.started_at).label("at"))
        .join(stage_timings, stage_timings.c.job_uuid == jobs.c.job_uuid)
        .where(stage_timings.c.stage == WORK, _is_within(stage_timings.c.started_at, window_s=DAY_S))
        .where(~before.exists())
        .where(which)
        .group_by(jobs.c.song)
    )


def remember_shares(connection: Connection, chosen: Sequence[str]) -> None:
    """Let songs that will be forgotten count for their day's limits and for turns, and drop what counts no more."""
    drop_old_shares(connection)
    begun = _first_begun_of(jobs.c.song.in_(chosen)).subquery()  # of all songs would take long
    worked = _worked_on(chosen).subquery()
    length = func.coalesce(songs.c.duration_s, songs.c.expected_s)
    uncounted = ~_taken_in() | (begun.c.song.is_(None) & _refused_for_length())
    columns = {
        "user_id": songs.c.user_id,
        "uploaded_at": songs.c.uploaded_at,
        "seconds": case((uncounted, 0.0), else_=length),
        "minutes_at": func.coalesce(begun.c.at, songs.c.uploaded_at),
        "taken_in": _taken_in(),
        "worked_at": worked.c.at,
        "worked_seconds": func.coalesce(worked.c.times, 0) * seconds_of_audio,
    }
    counts = _recent(None, window_s=DAY_S) | begun.c.song.is_not(None) | worked.c.song.is_not(None)
    shares = (
        select(*columns.values())
        .join(begun, begun.c.song == songs.c.song, isouter=True)
        .join(worked, worked.c.song == songs.c.song, isouter=True)
        .where(songs.c.song.in_(chosen), counts)
    )
    connection.execute(insert(forgotten_songs).from_select(list(columns), shares))


def _worked_on(chosen: Sequence[str]) -> Select[str, str, int]:
    """Return the query of those of the songs that count for turns, when one was last begun (``at``) and how often."""
    return (
        select(jobs.c.song, func.max(jobs.c.started_at).label("at"), func.sum(times_worked_on).label("times"))
        .where(jobs.c.song.in_(chosen), is_lately(jobs.c.started_at))
        .group_by(jobs.c.song)
    )


def drop_old_shares(connection: Connection) -> None:
    """Forget of deleted songs what counts neither for a limit of a day nor for turns any more, in a transaction."""
    times = (
        forgotten_songs.c.uploaded_at,
        forgotten_songs.c.minutes_at,
        func.coalesce(forgotten_songs.c.worked_at, ""),
    )
    since = utc_time(seconds_ago=DAY_S)
    connection.execute(delete(forgotten_songs).where(*(at <= since for at in times)))


def _taken_in() -> ColumnElement[bool]:
    """Return whether a song was taken in, not refused unread. Its hash is no sign: a song to be deleted has none."""
    return songs.c.archive_path.startswith("archive/")


def _submitted(user_id: str | None, *, gone: bool = False) -> ColumnElement[bool]:
    """Return whether a song counts for the rate: for a user's always, for that of all only where it was taken in."""
    if user_id is not None:
        return true()
    return forgotten_songs.c.taken_in.is_(True) if gone else _taken_in()


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
    return _count(connection, user_id, _taken_in(), forgotten_songs.c.taken_in.is_(True), window_s=DAY_S)


def submissions(connection: Connection, user_id: str | None) -> int:
    """Return how many songs were handed in within a minute."""
    return _count(connection, user_id, _submitted(user_id), _submitted(user_id, gone=True), window_s=MINUTE_S)


def _count(
    connection: Connection,
    user_id: str | None,
    which: ColumnElement[bool],
    which_gone: ColumnElement[bool],
    *,
    window_s: float,
) -> int:
    """Return how many songs came within the last seconds, those that were deleted meanwhile included."""
    there = select(func.count()).where(_recent(user_id, window_s=window_s), which)
    gone = select(func.count()).where(_recently_forgotten(user_id, window_s=window_s), which_gone)
    return sum(int(connection.execute(query).scalar_one()) for query in (there, gone))


def _recent(user_id: str | None, *, window_s: float) -> ColumnElement[bool]:
    recent = _is_within(songs.c.uploaded_at, window_s=window_s)
    return recent if user_id is None else (songs.c.user_id == user_id) & recent


def _recently_forgotten(user_id: str | None, *, window_s: float) -> ColumnElement[bool]:
    recent = _is_within(forgotten_songs.c.uploaded_at, window_s=window_s)
    return recent if user_id is None else (forgotten_songs.c.user_id == user_id) & recent


def _forgotten_minutes(user_id: str | None) -> ColumnElement[bool]:
    recent = _is_within(forgotten_songs.c.minutes_at, window_s=DAY_S)
    return recent if user_id is None else (forgotten_songs.c.user_id == user_id) & recent


def _is_within(at: ColumnElement[str], *, window_s: float) -> ColumnElement[bool]:
    """Return whether a time is within the window that ends now.

    One further ahead than the window is long was written by a clock that has been set back since: what came under it
    would count until then.
    """
    return (at > utc_time(seconds_ago=window_s)) & (at <= utc_time(seconds_ago=-window_s))
