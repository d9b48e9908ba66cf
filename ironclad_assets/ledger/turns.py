"""Fair turns: in which order waiting jobs deserve a run (QUEUE-003, docs/control.md).

Priority decides first. Among equals the user who had the fewest seconds of audio worked on goes first: what
counts is the audio of the user's jobs that are being worked on or were begun within the last hour, also of songs
that were deleted since, plus that of the user's own waiting jobs before this one. A job that waits again after a hold
or a crash had nothing yet; one that failed for now was worked on as often as it failed. Then the order of submission
(not of time: a clock jump reorders nothing). One statement says it, so that SQLite and Postgres agree.
"""

from sqlalchemy import Float, Select, case, cast, func, literal, null, select, union, union_all
from sqlalchemy.sql.elements import ColumnElement

from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.ledger.pauses import not_paused
from ironclad_assets.ledger.retries import LONGEST_WAIT_S
from ironclad_assets.ledger.rows import utc_time
from ironclad_assets.ledger.tables import forgotten_songs, jobs, songs

REMEMBERED_S = 3600.0
"""How long a job that was begun counts for its user, as seconds of wall time."""

BYTES_PER_S = 40_000.0
"""A second of audio, where only the size of a file is known: FLAC and WAV have more, lossy files less."""

CLOCK_SLACK_S = 60.0

BEFORE_ALL = 1_000_000
"""A priority that no job has."""

WAITING = (jobs.c.state == JobState.QUEUED.value) & jobs.c.dispatched_at.is_(None)
"""No run was asked for it yet."""

DISPATCHED = (jobs.c.state == JobState.QUEUED.value) & jobs.c.dispatched_at.is_not(None)
"""A run was asked for it, and has not begun it yet."""

RUNNING = jobs.c.state == JobState.RUNNING.value

seconds_of_audio: ColumnElement[float] = cast(
    func.coalesce(songs.c.duration_s, func.nullif(songs.c.expected_s, 0.0), songs.c.size_bytes / BYTES_PER_S), Float
)
"""Seconds of a job's song: decoded, else expected, else what its size suggests."""

times_worked_on: ColumnElement[int] = case(
    (jobs.c.dispatched_at.is_(None), jobs.c.failures),
    else_=jobs.c.failures + 1,
)
"""How often a job that was begun counts for turns: once for each failure that may pass, and once for the run after."""


def is_due() -> ColumnElement[bool]:
    """Return the condition that a job need not wait any longer after a failure.

    No wait is longer than `LONGEST_WAIT_S`: a later time was written by a clock that has been set back since.
    """
    soon = utc_time(seconds_ago=-LONGEST_WAIT_S - CLOCK_SLACK_S)
    return jobs.c.not_before.is_(None) | (jobs.c.not_before <= utc_time(seconds_ago=0.0)) | (jobs.c.not_before > soon)


def may_go() -> ColumnElement[bool]:
    """Return the condition that nothing but its turn keeps a waiting job from a run."""
    return WAITING & is_due() & not_paused()


def in_turn(which: ColumnElement[bool]) -> Select[int, str, str, int, float]:
    """Return the query of the jobs that `which` chooses, in their order.

    Its columns are sequence, job_uuid, user_id, priority and seconds; jobs that are not chosen count for nothing.
    """
    waiting = (
        select(jobs.c.sequence, jobs.c.job_uuid, jobs.c.user_id, jobs.c.priority, seconds_of_audio.label("seconds"))
        .join(songs, songs.c.song == jobs.c.song)
        .where(which)
    )
    # What a user had stands before all that the user waits for, as further rows: cheaper than a join.
    row = union_all(waiting, _had_by_user(), _had_and_forgotten()).subquery().c
    before = func.sum(row.seconds).over(
        partition_by=row.user_id, order_by=(row.priority.desc(), row.sequence), rows=(None, -1)
    )
    every = (
        select(row.sequence, row.job_uuid, row.user_id, row.priority, row.seconds, before.label("start")).subquery().c
    )
    return (
        select(every.sequence, every.job_uuid, every.user_id, every.priority, every.seconds)
        .where(every.job_uuid.is_not(None))
        .order_by(every.priority.desc(), func.coalesce(every.start, 0.0), every.sequence)
    )


def count_in_hand() -> Select[str, int]:
    """Return the query of how many jobs of each user are worked on or were handed to Dagster."""
    return select(jobs.c.user_id, func.count()).where(_any_of(RUNNING, DISPATCHED)).group_by(jobs.c.user_id)


def is_lately(begun_at: ColumnElement[str] | ColumnElement[str | None]) -> ColumnElement[bool]:
    """Return the condition that what was begun at a time still counts for its user's turns."""
    return begun_at.between(utc_time(seconds_ago=REMEMBERED_S), utc_time(seconds_ago=-CLOCK_SLACK_S))


def _had_by_user() -> Select[int, str, str, int, float]:
    """Return the query of the seconds of audio that each user had: in hand now, or begun within the hour.

    The rows look like those of jobs, with a priority above any.
    """
    return (
        _had(jobs.c.user_id, seconds_of_audio * times_worked_on)
        .join(songs, songs.c.song == jobs.c.song)
        .where(_any_of(RUNNING, DISPATCHED, is_lately(jobs.c.started_at)))
        .group_by(jobs.c.user_id)
    )


def _had_and_forgotten() -> Select[int, str, str, int, float]:
    """Return the query of the same for songs that were deleted: who deletes what is done has had it all the same."""
    return (
        _had(forgotten_songs.c.user_id, forgotten_songs.c.worked_seconds)
        .where(is_lately(forgotten_songs.c.worked_at))
        .group_by(forgotten_songs.c.user_id)
    )


def _had(user_id: ColumnElement[str], seconds: ColumnElement[float]) -> Select[int, str, str, int, float]:
    return select(
        literal(0).label("sequence"),
        null().label("job_uuid"),
        user_id,
        literal(BEFORE_ALL).label("priority"),
        func.sum(seconds).label("seconds"),
    )


def _any_of(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return that one of the conditions holds, by a look at an index for each; an OR would look at every job."""
    return jobs.c.sequence.in_(union(*(select(jobs.c.sequence).where(condition) for condition in conditions)))
