"""A store that lasts in an object store: which local copies nobody works with, and which leftovers there are old."""

import fcntl
import os
from collections.abc import Callable

from ironclad_assets.errors import ErrorCode, failure
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.settings import Settings
from ironclad_assets.storage.housekeeping import Evicted, evict, remove_leftovers
from ironclad_assets.storage.mirror import ORIGINALS
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.prune.guard import Clock, believe


def evict_copies(store: Store, *, ledger: Ledger, limit_bytes: int) -> Evicted:
    """Remove copies that were not used for longest, and that no job or analysis needs, down to `limit_bytes`.

    Raises:
        StorageUnavailable: the store or the object store is away.
    """
    return evict(store, limit_bytes=limit_bytes, in_use=tell_in_use(ledger, store=store))


def remove_old_leftovers(store: Store, *, ledger: Ledger, settings: Settings, clock: Clock | None = None) -> int:
    """Remove what killed publications left in the bucket a day ago, by a clock that can be believed; return its bytes.

    Raises:
        IroncladError: `CLOCK_DOUBTFUL`: what is on its way now may look old; nothing was touched.
        StorageUnavailable: the store or the object store is away.
    """
    believed = believe(ledger, settings, clock=clock or Clock())
    if believed.doubt:
        raise failure(ErrorCode.CLOCK_DOUBTFUL, believed.doubt)
    return remove_leftovers(store, now=believed.now)


def tell_in_use(ledger: Ledger, *, store: Store) -> Callable[[str], bool]:
    """Return what says of a song's id, or of an original's SHA-256, whether a job or an analysis needs it."""

    def in_use(name: str) -> bool:
        if ledger.active_job(name) is not None or _is_analysed(name, store=store):
            return True
        return any(song.state.active for song in ledger.sweeps.sharing(f"{ORIGINALS}{name[:2]}/{name}"))

    return in_use


def _is_analysed(song: str, *, store: Store) -> bool:
    """Return whether somebody holds the lock of the song's analysis, which comes after its job."""
    try:
        descriptor = os.open(store.stage("song_analysis", song).path / ".lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
