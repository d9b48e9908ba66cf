"""Room under the quotas that a run takes before it writes: counted at once, and gone with the run that took it.

A reservation is what a stage's new files have more than those that they replace, an entry of the account beside the
stage's own. It ends when the stage's files are recorded, when it is given back, and in any case when the song's job
stops running: a run that is killed gives nothing back itself.
"""

from dataclasses import dataclass

from sqlalchemy import Connection

from ironclad_assets.contracts.v1.limits import EffectiveLimits, SystemLimits
from ironclad_assets.ledger.admission import INSTALLATION, SYSTEM, check_bytes
from ironclad_assets.ledger.database import Database, take_turns
from ironclad_assets.ledger.limits import effective_limits, system_limits
from ironclad_assets.ledger.reads import require_song
from ironclad_assets.ledger.rules import Rules
from ironclad_assets.ledger.usage import (
    forget_reserved,
    read_usage,
    record_reserved,
    stored_bytes,
)
from ironclad_assets.ledger.users import take_user_turn


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a user's account comes to with the bytes that were reserved."""

    used_bytes: int
    quota_bytes: int | None


class Reservations:
    """The reservations of one ledger."""

    def __init__(self, database: Database, *, rules: Rules) -> None:
        self._database = database
        self._rules = rules

    def take(self, song: str, stage: str, *, size_bytes: int) -> Reservation:
        """Count `size_bytes` as stored for `stage` of the song before they are written (SPLIT-021).

        They replace what is counted for the stage; who stores no more than before is not refused.

        Raises:
            LimitReached: `QUOTA_EXCEEDED`: they would exceed the quota of the song's user or of the installation.
        """
        with self._database.write() as connection:
            user_id = require_song(connection, song, lock=True).user_id  # first, as everywhere: then the user's turn
            take_user_turn(connection, user_id)
            limits, system = effective_limits(connection, user_id, rules=self._rules), system_limits(connection)
            forget_reserved(connection, song, stage)
            more_bytes = size_bytes - stored_bytes(connection, song, stage)
            if more_bytes > 0 and system.stored_bytes is not None:
                take_turns(connection, SYSTEM)
            if more_bytes > 0:
                _check_room(connection, song, stage, size_bytes=size_bytes, limits=limits, system=system)
                record_reserved(connection, song, stage, size_bytes=more_bytes)
            used = read_usage(connection, user_id).stored_bytes
            return Reservation(used_bytes=used, quota_bytes=limits.stored_bytes)

    def require_room(self, song: str, stage: str, *, size_bytes: int) -> None:
        """Raise where what is stored, with `size_bytes` for `stage` of the song, exceeds a quota; count nothing.

        Raises:
            LimitReached: `QUOTA_EXCEEDED`.
        """
        with self._database.read() as connection:
            user_id = require_song(connection, song).user_id
            limits, system = effective_limits(connection, user_id, rules=self._rules), system_limits(connection)
            _check_room(connection, song, stage, size_bytes=size_bytes, limits=limits, system=system)

    def give_back(self, song: str, stage: str) -> None:
        """Count only what the stage has: nothing was written."""
        with self._database.write() as connection:
            forget_reserved(connection, song, stage)


def _check_room(
    connection: Connection, song: str, stage: str, *, size_bytes: int, limits: EffectiveLimits, system: SystemLimits
) -> None:
    """Raise where `size_bytes` in the place of what `stage` of the song has exceed the user's quota or the system's."""
    user_id, before = require_song(connection, song).user_id, stored_bytes(connection, song, stage)
    for whose, owner, most in (
        (f"user {user_id!r}", user_id, limits.stored_bytes),
        (INSTALLATION, None, system.stored_bytes),
    ):
        if most is not None:
            used = read_usage(connection, owner, limits=limits if owner else system).stored_bytes - before
            check_bytes(used, size_bytes, most=most, whose=whose, what=stage)
