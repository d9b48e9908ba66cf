"""Where this home's backups go, remembered, so that the mount point of a disk that is away is not taken for the disk.

Every folder of backups has an id of its own, and the home remembers which id it found where. Backups in the store's
own folder need none: the store has one.
"""

import json
import uuid
from collections.abc import Container
from contextlib import suppress
from pathlib import Path
from shlex import quote

from ironclad_assets.errors import ErrorCode, StorageUnavailable
from ironclad_assets.settings import Settings
from ironclad_assets.storage import atomic
from ironclad_assets.upkeep.backup.repository import Repository

KNOWN_BACKUPS = "backups.json"
ID_FILE = ".backups-id"


def configured_folder(settings: Settings) -> Path | None:
    """Return the folder that the settings name, if they do."""
    return None if settings.backup_path is None else settings.backup_path.expanduser().absolute()


def known_folders(settings: Settings) -> list[Path]:
    """Return every folder that this home has made backups in or came from, and the configured one."""
    folders = [Path(folder) for folder in _read(settings)]
    configured = configured_folder(settings)
    return list(dict.fromkeys([*folders, *([configured] if configured else [])]))


def reached_folders(settings: Settings) -> list[Path]:
    """Return the known folders, but those in whose place the backups of another installation lie now."""
    known = _read(settings)
    return [folder for folder in known_folders(settings) if not _is_anothers(folder, expected=known.get(str(folder)))]


def remember(settings: Settings, repository: Repository) -> None:
    """Remember a folder that this home was restored from, as if it had made the backups there.

    Deletions reach its list from now on, and while its disk is away no backup is begun in its mount point.
    """
    with suppress(StorageUnavailable):
        found = _id_in(repository.folder / ID_FILE)
        if found is not None:
            _write(settings, place=str(repository.folder), found=found)


def enter(settings: Settings, repository: Repository, *, anew: bool, earlier: Container[str] = ()) -> None:
    """Make the folder ready for a backup, and remember it.

    Args:
        settings: of the installation.
        repository: the backups in the folder.
        anew: it is another disk, or was emptied, and somebody said so.
        earlier: places of earlier backups by the ledger, for a home that remembers none.

    Raises:
        StorageUnavailable: `STORAGE_AWAY`, where this home made backups there and they are not there now.
    """
    known = _read(settings)
    place, file = str(repository.folder), repository.folder / ID_FILE
    expected, found = known.get(place), _id_in(file)
    own = repository.folder.is_relative_to(settings.store_root.expanduser().absolute())
    emptied = expected is None and found is None and place in earlier and not repository.ids()
    if (emptied or expected not in (None, found)) and not own and not anew:
        named = "" if configured_folder(settings) == repository.folder else f" --to {quote(place)}"
        raise StorageUnavailable(
            f"{place} has {'no backups of this home' if found is None else 'the backups of another'}: its disk is not "
            f"mounted; if it was replaced or emptied, say so once: pipelinectl backup create --anew{named}",
            code=ErrorCode.STORAGE_AWAY,
        )
    try:
        repository.create()
    except (FileExistsError, NotADirectoryError) as error:
        detail = f"{place} is no folder, or a link to a disk that is not mounted"
        raise StorageUnavailable(detail, code=ErrorCode.STORAGE_AWAY) from error
    if found is None:
        found = str(uuid.uuid4())
        atomic.write_bytes(file, f"{found}\n".encode(), mode=0o600)
    if expected != found:
        _write(settings, place=place, found=found)


def _read(settings: Settings) -> dict[str, str]:
    """Return what is remembered; nothing where that is damaged, for it is found anew and must stop no backup."""
    try:
        known = json.loads((settings.home_dir / KNOWN_BACKUPS).read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {place: found for place, found in known.items() if isinstance(found, str)}


def _write(settings: Settings, *, place: str, found: str) -> None:
    atomic.write_json(settings.home_dir / KNOWN_BACKUPS, {**_read(settings), place: found})


def _is_anothers(folder: Path, *, expected: str | None) -> bool:
    with suppress(StorageUnavailable):  # a disk that is away tells nothing, and is not reached either
        return expected is not None and _id_in(folder / ID_FILE) not in (None, expected)
    return False


def _id_in(file: Path) -> str | None:
    """Return the id in the file; None for one that is not there or was never finished."""
    try:
        return str(uuid.UUID(file.read_text(encoding="ascii").strip()))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        raise atomic.storage_error(error, file) from error
