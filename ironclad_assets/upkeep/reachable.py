"""Whether files of the store may be removed now."""

from ironclad_assets.errors import ErrorCode, StorageUnavailable
from ironclad_assets.storage.store import Store


def require_reachable(store: Store) -> None:
    """Raise unless files can be removed; a full store is one more reason to remove some.

    Raises:
        StorageUnavailable: with `STORAGE_AWAY` or `STORAGE_READ_ONLY`.
    """
    try:
        store.require_ready()
    except StorageUnavailable as error:
        if error.code is not ErrorCode.STORAGE_FULL:
            raise
