"""Whether a song may come in: its user is served and no limit of user or installation is exceeded (GLOBAL-001).

Asked twice with the same rules: early, before anything is copied, to refuse cheaply; and inside the transaction
that registers the song, where users take turns, so that any number of uploads at one time stop at the limit.
"""

import math
from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from ironclad_assets.contracts.v1.job import SongIdentity
from ironclad_assets.contracts.v1.limits import EffectiveLimits, SystemLimits, Usage
from ironclad_assets.errors import ErrorCode, Refusal
from ironclad_assets.ledger.database import Database, take_turns
from ironclad_assets.ledger.limits import effective_limits, system_limits
from ironclad_assets.ledger.live import Live
from ironclad_assets.ledger.progress import seconds_between
from ironclad_assets.ledger.reads import require_song
from ironclad_assets.ledger.rows import utc_now
from ironclad_assets.ledger.rules import Rules
from ironclad_assets.ledger.runs import enter_stage
from ironclad_assets.ledger.shares import DAY_S, MINUTE_S, WORK, audio_minutes, oldest_minutes, oldest_upload
from ironclad_assets.ledger.tables import songs
from ironclad_assets.ledger.usage import read_usage, warn_near
from ironclad_assets.ledger.users import check_served, find_user, see_user, take_user_turn

INSTALLATION = "the installation"
SYSTEM = "system"

STORED = SystemLimits(stored_bytes=0)
"""Names the bytes alone where `read_usage` is asked; their number says nothing."""

WAIT_CODES = frozenset(
    {
        ErrorCode.QUOTA_EXCEEDED,
        ErrorCode.DAILY_LIMIT,
        ErrorCode.RATE_LIMITED,
        ErrorCode.UNKNOWN_USER,
        ErrorCode.USER_DISABLED,
    }
)
"""Refusals that are not the file's fault: a dropped file stays where it is and is taken when they have passed."""


class LimitReached(Refusal):
    """Something is used up. `retry_after_s` says when it is worth trying again, None where nobody knows."""

    def __init__(self, detail: str, *, code: ErrorCode, retry_after_s: float | None = None) -> None:
        wait = "" if retry_after_s is None else f"; try again in {_wait_text(retry_after_s)}"
        super().__init__(f"{detail}{wait}", code=code)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to bring in: bytes, and the seconds of audio that they suggest."""

    user_id: str
    size_bytes: int
    expected_s: float


class Admission:
    """The early question, and that of the minutes; the deciding one about a new song is `admit`."""

    def __init__(self, database: Database, *, rules: Rules, live: Live) -> None:
        self._database = database
        self._rules = rules
        self._live = live

    def limits_of(self, user_id: str) -> EffectiveLimits:
        """Return the limits of a user who may hand in songs.

        Raises:
            Refusal: `UNKNOWN_USER` or `USER_DISABLED`.
        """
        with self._database.read() as connection:
            check_served(find_user(connection, user_id), user_id, rules=self._rules)
            return effective_limits(connection, user_id, rules=self._rules)

    def require_served(self, user_id: str) -> None:
        """Raise unless the user may hand things in.

        Raises:
            Refusal: `UNKNOWN_USER` or `USER_DISABLED`.
        """
        with self._database.read() as connection:
            check_served(find_user(connection, user_id), user_id, rules=self._rules)

    def count_rate(self, user_id: str, *, refused: bool) -> bool:
        """Count one more submission where rates are shared; return whether it was counted there.

        One that is `refused` unread counts for its user alone.

        Raises:
            LimitReached: `RATE_LIMITED`.
        """
        if not self._live.configured:
            return False
        with self._database.read() as connection:
            mine = effective_limits(connection, user_id, rules=self._rules).submissions_per_minute
            total = None if refused else system_limits(connection).submissions_per_minute
        for name, rate, whose in (
            (f"user:{user_id}", mine, f"user {user_id!r}"),
            (SYSTEM, total, INSTALLATION),
        ):
            verdict = None if rate is None else self._live.hit(name, per_minute=rate)
            if rate is not None and verdict is None:
                return False  # away: the ledger counts both
            if rate is not None and verdict is not None and not verdict.allowed:
                raise rate_reached(rate, whose=whose, retry_after_s=verdict.retry_after_s)
        return True

    def is_registered(self, archive_path: str) -> bool:
        """Return whether an original is that of a song."""
        with self._database.read() as connection:
            chosen = select(songs.c.song).where(songs.c.archive_path == archive_path).limit(1)
            return connection.execute(chosen).first() is not None

    def measure(self, song: str, *, duration_s: float, job_uuid: str | None = None) -> None:
        """Note how long the song really is, and with `job_uuid` that this running job begins the work on it.

        Raises:
            LimitReached: `DAILY_LIMIT`: with it its user has handed in more minutes of audio than a day may have.
        """
        with self._database.write() as connection:
            identity = require_song(connection, song, lock=True)
            take_user_turn(connection, identity.user_id)
            connection.execute(update(songs).where(songs.c.song == song).values(duration_s=duration_s))
            most = effective_limits(connection, identity.user_id, rules=self._rules).audio_minutes_per_day
            minutes, others = duration_s / 60.0, 0.0
            if most is not None:
                others = audio_minutes(connection, identity.user_id, without=song, measured_only=True)
            fits = most is None or others + minutes <= most
            if fits and job_uuid is not None:  # now, not when the stage begins: whoever is measured next counts it
                enter_stage(connection, job_uuid, WORK)
            retry_after_s = None if fits else _until(oldest_minutes(connection, identity.user_id), window_s=DAY_S)
        if not fits:
            detail = (
                f"user {identity.user_id!r} handed in {others:.1f} minutes of audio within 24 hours; "
                f"{minutes:.1f} more exceed the limit of {most:g}"
            )
            raise LimitReached(detail, code=ErrorCode.DAILY_LIMIT, retry_after_s=retry_after_s)

    def check(self, wish: Wish) -> None:
        """Raise if the song would be refused now. That it is not says nothing about a moment later.

        Raises:
            Refusal: `UNKNOWN_USER` or `USER_DISABLED`.
            LimitReached: `QUOTA_EXCEEDED`, `DAILY_LIMIT` or `RATE_LIMITED`.
        """
        with self._database.read() as connection:
            check_served(find_user(connection, wish.user_id), wish.user_id, rules=self._rules)
            limits = effective_limits(connection, wish.user_id, rules=self._rules)
            _check_limits(connection, wish, limits=limits, rate_counted=False)
            _check_limits(connection, wish, limits=system_limits(connection), rate_counted=False)


def admit(connection: Connection, song: SongIdentity, *, rules: Rules, rate_counted: bool) -> tuple[str, ...]:
    """Decide for good whether the song may be registered in this writing transaction; make its user known.

    Args:
        connection: of the transaction that registers the song.
        song: what would be registered.
        rules: of the installation.
        rate_counted: whether the rate was counted elsewhere (Redis) already.

    Returns:
        Sentences about limits that will be nearly reached.

    Raises:
        Refusal: as `Admission.check`.
    """
    take_user_turn(connection, song.user_id)
    check_served(find_user(connection, song.user_id), song.user_id, rules=rules)
    wish = Wish(song.user_id, song.size_bytes, song.expected_s)
    limits = effective_limits(connection, song.user_id, rules=rules)
    mine = _check_limits(connection, wish, limits=limits, rate_counted=rate_counted)
    system = system_limits(connection)
    total = Usage()
    if system != SystemLimits():
        take_turns(connection, SYSTEM)  # after the user's, always, so that nobody waits in a circle
        total = _check_limits(connection, wish, limits=system, rate_counted=rate_counted)
    see_user(connection, song.user_id, rules=rules)
    whose = f"user {song.user_id!r}"
    return (
        *warn_near(_with(mine, wish), limits, whose=whose),
        *warn_near(_with(total, wish), system, whose=INSTALLATION),
    )


def admit_refused(connection: Connection, user_id: str, *, kept_bytes: int, rules: Rules, rate_counted: bool) -> None:
    """Decide whether a file that is refused unread may be noted in this writing transaction; make its user known.

    It uses nothing but its user's rate, and room for as long as it is kept. Call `take_user_turn` before.

    Raises:
        Refusal: `UNKNOWN_USER` or `USER_DISABLED`.
        LimitReached: `RATE_LIMITED`; or `QUOTA_EXCEEDED`, if the quarantine cannot keep it.
    """
    check_served(find_user(connection, user_id), user_id, rules=rules)
    limits = effective_limits(connection, user_id, rules=rules)
    check_room(connection, user_id, kept_bytes, limits=limits, what="a refused file")
    rate = limits.submissions_per_minute
    if rate is not None and not rate_counted:
        used = read_usage(connection, user_id, limits=SystemLimits(submissions_per_minute=rate))
        _check_rate(connection, used, rate=rate, user_id=user_id)
    see_user(connection, user_id, rules=rules)


def _check_limits(
    connection: Connection, wish: Wish, *, limits: EffectiveLimits | SystemLimits, rate_counted: bool
) -> Usage:
    """Raise where `wish` would break one of the limits; return what is used without it, as far as it is limited."""
    user_id = wish.user_id if isinstance(limits, EffectiveLimits) else None
    whose = _whose(user_id)
    used = read_usage(connection, user_id, limits=limits)
    _check_bytes(used.stored_bytes, wish.size_bytes, most=limits.stored_bytes, whose=whose, what="the file")
    if isinstance(limits, EffectiveLimits):
        _check_day(connection, limits, used=used, whose=whose, user_id=wish.user_id)
    rate = limits.submissions_per_minute
    if rate is not None and not rate_counted:
        _check_rate(connection, used, rate=rate, user_id=user_id)
    return used


def _check_rate(connection: Connection, used: Usage, *, rate: int, user_id: str | None) -> None:
    if used.submissions_per_minute >= rate:
        oldest = oldest_upload(connection, user_id, window_s=MINUTE_S)
        raise rate_reached(rate, whose=_whose(user_id), retry_after_s=_until(oldest, window_s=MINUTE_S))


def _whose(user_id: str | None) -> str:
    return INSTALLATION if user_id is None else f"user {user_id!r}"


def check_room(
    connection: Connection, user_id: str, size_bytes: int, *, limits: EffectiveLimits, what: str, before_bytes: int = 0
) -> None:
    """Raise where what is about to be stored exceeds the user's quota or that of all; call `take_user_turn` before.

    Args:
        connection: of the writing transaction that counts it.
        user_id: whose it is.
        size_bytes: of what is stored.
        limits: of the user.
        what: what is stored, for the message.
        before_bytes: what is counted in its place now; who stores no more than before is never refused.

    Raises:
        LimitReached: `QUOTA_EXCEEDED`.
    """
    if size_bytes <= before_bytes:
        return
    total = system_limits(connection).stored_bytes
    if total is not None:
        take_turns(connection, SYSTEM)
    for whose, owner, most in ((_whose(user_id), user_id, limits.stored_bytes), (INSTALLATION, None, total)):
        if most is not None:
            used = read_usage(connection, owner, limits=STORED).stored_bytes - before_bytes
            _check_bytes(used, size_bytes, most=most, whose=whose, what=what)


def _check_bytes(used: int, more: int, *, most: int | None, whose: str, what: str) -> None:
    if most is not None and used + more > most:
        detail = f"{whose} stores {used} bytes of {most}; {more} more for {what} do not fit"
        raise LimitReached(detail, code=ErrorCode.QUOTA_EXCEEDED)


def rate_reached(rate: int, *, whose: str, retry_after_s: float | None) -> LimitReached:
    """Return the refusal of a song that came too soon after `rate` others."""
    detail = f"{whose} handed in {rate} songs within a minute, which is the limit"
    wait_s = None if retry_after_s is None else max(retry_after_s, 1.0)
    return LimitReached(detail, code=ErrorCode.RATE_LIMITED, retry_after_s=wait_s)


def _check_day(connection: Connection, limits: EffectiveLimits, *, used: Usage, whose: str, user_id: str) -> None:
    songs_most, minutes_most = limits.songs_per_day, limits.audio_minutes_per_day
    detail = oldest = None
    if songs_most is not None and used.songs_per_day >= songs_most:
        detail = f"{whose} handed in {used.songs_per_day} songs within 24 hours; the limit is {songs_most}"
        oldest = oldest_upload(connection, user_id, window_s=DAY_S)
    elif minutes_most is not None and used.audio_minutes_per_day >= minutes_most:
        minutes = used.audio_minutes_per_day
        detail = f"{whose} handed in {minutes:.1f} minutes of audio within 24 hours; the limit is {minutes_most:g}"
        oldest = oldest_minutes(connection, user_id)
    if detail is not None:
        retry_after_s = _until(oldest, window_s=DAY_S)
        raise LimitReached(detail, code=ErrorCode.DAILY_LIMIT, retry_after_s=retry_after_s)


def _until(oldest: str | None, *, window_s: float) -> float | None:
    """Return the seconds until the oldest song in the window leaves it; None where a limit of 0 lets none in ever."""
    return None if oldest is None else max(window_s - seconds_between(oldest, utc_now()), 1.0)


def _with(used: Usage, wish: Wish) -> Usage:
    """Return the usage once `wish` is in."""
    return Usage(
        stored_bytes=used.stored_bytes + wish.size_bytes,
        songs_per_day=used.songs_per_day + 1,
        audio_minutes_per_day=used.audio_minutes_per_day + wish.expected_s / 60.0,
        submissions_per_minute=used.submissions_per_minute + 1,
    )


def _wait_text(seconds: float) -> str:
    if seconds < 120:
        return f"{math.ceil(seconds)} s"
    return f"{math.ceil(seconds / 60)} minutes" if seconds < 2 * 3600 else f"{math.ceil(seconds / 3600)} hours"
