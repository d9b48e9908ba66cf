"""Local copies of a store that lasts in an object store: which of them nobody works with, so that they may go."""

from collections.abc import Callable

from ironclad_assets.ledger.store import Ledger
from ironclad_assets.storage.housekeeping import Evicted, evict
from ironclad_assets.storage.mirror import ORIGINALS
from ironclad_assets.storage.store import Store


def evict_copies(store: Store, *, ledger: Ledger, limit_bytes: int) -> Evicted:
    """Remove copies that were not used for longest, and that no active job needs, down to `limit_bytes`.

    Raises:
        StorageUnavailable: the store or the object store is away.
    """
    return evict(store, limit_bytes=limit_bytes, in_use=tell_in_use(ledger))


def tell_in_use(ledger: Ledger) -> Callable[[str], bool]:
    """Return what says of a song's id, or of an original's SHA-256, whether an active job needs it."""

    def in_use(name: str) -> bool:
        if ledger.active_job(name) is not None:
            return True
        return any(song.state.active for song in ledger.sweeps.sharing(f"{ORIGINALS}{name[:2]}/{name}"))

    return in_use
