"""Room under the quotas that a run takes before it writes: counted at once, and gone with the run that took it.

A reservation is what a stage's new files have more than those that they replace, an entry of the account beside the
stage's own. It ends when the stage's files are recorded, when it is given back, and in any case when the song's job
stops running: a run that is killed gives nothing back itself. A run whose job is another's by now reserves nothing.
"""

from dataclasses import dataclass

from ironclad_assets.ledger.admission import STORED, check_room
from ironclad_assets.ledger.database import Database
from ironclad_assets.ledger.limits import effective_limits
from ironclad_assets.ledger.reads import require_song
from ironclad_assets.ledger.rules import Rules
from ironclad_assets.ledger.runs import given_up
from ironclad_assets.ledger.usage import (
    forget_reserved,
    is_running,
    owner_of,
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

    def take(self, song: str, stage: str, *, size_bytes: int, run_id: str) -> Reservation:
        """Count `size_bytes` as stored for `stage` of the song before the run writes them (SPLIT-021).

        They replace what is counted for the stage; who stores no more than before is not refused.

        Raises:
            LimitReached: `QUOTA_EXCEEDED`: they would exceed the quota of the song's user or of the installation.
            PermanentFailure: `SUPERSEDED`: the song has no running job that is this run's.
        """
        with self._database.write() as connection:
            user_id = require_song(connection, song, lock=True).user_id  # first, as everywhere: then the user's turn
            if not is_running(connection, song, run_id=run_id):
                raise given_up(song, run_id=run_id)
            take_user_turn(connection, user_id)
            limits = effective_limits(connection, user_id, rules=self._rules)
            forget_reserved(connection, song, stage)
            before = stored_bytes(connection, song, stage)
            check_room(connection, user_id, size_bytes, limits=limits, what=stage, before_bytes=before)
            if size_bytes > before:
                record_reserved(connection, song, stage, size_bytes=size_bytes - before)
            used = read_usage(connection, user_id, limits=STORED).stored_bytes
            return Reservation(used_bytes=used, quota_bytes=limits.stored_bytes)

    def give_back(self, song: str, stage: str, *, run_id: str) -> None:
        """Count only what the stage has: nothing was written. What another run has reserved since stays."""
        with self._database.write() as connection:
            owner_of(connection, song)
            if is_running(connection, song, run_id=run_id):
                forget_reserved(connection, song, stage)
