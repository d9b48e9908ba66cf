"""Opening the store that the settings name: a folder, or a folder whose store lasts in an object store.

The client of the object store is imported here and only then, so that who needs none need not have it.
"""

import importlib

from ironclad_assets.errors import ErrorCode, Refusal
from ironclad_assets.settings import Settings
from ironclad_assets.storage.mirror import Mirror
from ironclad_assets.storage.objects import Objects
from ironclad_assets.storage.store import Store


def open_store(settings: Settings) -> Store:
    """Return the store; nothing is read or asked yet.

    Raises:
        Refusal: `BAD_OPTION`: it is to last in an object store, and the extra s3 is not installed, or a setting
            of it is wrong.
    """
    mirror = None
    if settings.object_store_url is not None:
        mirror = Mirror(_open_objects(settings), root=settings.store_root)
    return Store(settings.store_root, settings.disk_reserve_bytes, mirror)


def _open_objects(settings: Settings) -> Objects:
    url = str(settings.object_store_url)
    try:
        s3 = importlib.import_module("ironclad_assets.storage.s3")
    except ImportError as error:
        raise Refusal(
            f"IRONCLAD_OBJECT_STORE_URL is set, but {error.name} is not installed: pip install -r constraints/s3.txt",
            code=ErrorCode.BAD_OPTION,
        ) from error
    objects: Objects = s3.S3Objects(url, settings=settings)
    return objects
