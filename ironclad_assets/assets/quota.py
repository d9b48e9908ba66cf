"""Room under the quota for what a stage writes: counted before it is there, given back where nothing came of it.

How large a stage's files will be is that stage's business; what the quota is and who has used what of it, the ledger's.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from ironclad_assets.assets.room import Room
from ironclad_assets.ledger.reservations import Reservation


@contextmanager
def reserved(room: Room, *, size_bytes: int) -> Iterator[Reservation]:
    """Count a stage's files as stored while they are made, so that songs side by side share no room (SPLIT-021).

    Raises:
        LimitReached: `QUOTA_EXCEEDED`.
        PermanentFailure: `SUPERSEDED`: the job is another run's by now.
    """
    song, run_id = room.job.song, room.context.run.run_id
    reservation = room.ledger.reservations.take(song, room.stage, size_bytes=size_bytes, run_id=run_id)
    try:
        yield reservation
    except BaseException:
        room.ledger.reservations.give_back(song, room.stage, run_id=run_id)
        raise
