"""Putting a backup's files in their places: checked before they get their names, never over a file of somebody's.

Which files those are and where they go is decided in `restore`.
"""

import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ironclad_assets.errors import ErrorCode, IroncladError, failure
from ironclad_assets.pipeline.ownership import set_mark
from ironclad_assets.storage import atomic
from ironclad_assets.storage.hashing import hash_file
from ironclad_assets.storage.notes import NOTE_ENDING
from ironclad_assets.upkeep.backup.manifest import BackedUpFile, StoredObject
from ironclad_assets.upkeep.backup.repository import Repository
from ironclad_assets.upkeep.backup.seal import Keys, Passing

FILES_TOLD = 500
PARTIALS = f".*{atomic.PARTIAL_SUFFIX}"

_LIBRARY_ROOTS = ("output/", "output-stems/")
_ORIGINAL_MODE, _STORE_MODE, _HOME_MODE = 0o444, 0o644, 0o600


@dataclass(slots=True)
class Placer:
    """Writes files of one backup and counts them."""

    repository: Repository
    objects: Mapping[str, StoredObject]
    identities: Keys
    total: int
    report: Callable[[str], None]
    files: int = 0
    size_bytes: int = 0

    def place(self, one: BackedUpFile, destination: Path) -> None:
        """Write a file, checked, under a hidden name, then give it its own; the caller syncs the disk at the end.

        Raises:
            PermanentFailure: `BACKUP_DAMAGED` or `BACKUP_LOCKED`.
            StorageUnavailable: the disk is full, read-only or away.
        """
        self.files += 1
        self.size_bytes += one.size_bytes
        if self.files % FILES_TOLD == 0:
            self.report(f"restored {self.files} of {self.total} files")
        if _is_there(destination, one):
            return
        temporary = destination.with_name(f".{uuid.uuid4().hex}{atomic.PARTIAL_SUFFIX}")
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
            self._write(one, temporary)
            temporary.replace(destination)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise atomic.storage_error(error, destination) from error
        except IroncladError:
            temporary.unlink(missing_ok=True)
            raise

    def _write(self, one: BackedUpFile, temporary: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as stream:
            passing = Passing(stream)
            self.repository.read_object(self.objects[one.object], passing, identities=self.identities)
            if (passing.size_bytes, passing.sha256) != (one.size_bytes, one.sha256):
                raise failure(ErrorCode.BACKUP_DAMAGED, f"{one.path} differs from its checksum")
            stream.flush()
            os.fchmod(stream.fileno(), _mode(one))
            if one.song is not None and one.path.startswith(_LIBRARY_ROOTS):
                set_mark(stream.fileno(), song=one.song)


def _mode(one: BackedUpFile) -> int:
    if one.place != "store":
        return _HOME_MODE
    is_original = one.path.startswith("archive/") and not one.path.endswith(NOTE_ENDING)
    return _ORIGINAL_MODE if is_original else _STORE_MODE


def entries(folder: Path, *, but: frozenset[str]) -> list[str]:
    """Return what is in a folder and means that it is used; empty folders mean nothing."""
    if not folder.is_dir():
        return []
    return [
        str(path)
        for path in sorted(folder.iterdir())
        if path.name not in but and not path.match(PARTIALS) and not (path.is_dir() and not any(path.rglob("*")))
    ]


def _is_there(file: Path, one: BackedUpFile) -> bool:
    """Return whether an interrupted restore brought the file already."""
    return file.is_file() and file.stat().st_size == one.size_bytes and hash_file(file) == one.sha256


def inside(path: str) -> str:
    """Return a path of a backup, refused unless it stays below its place."""
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or path.startswith("/") or "\0" in path:
        raise failure(ErrorCode.BACKUP_DAMAGED, f"{path!r} leads elsewhere")
    return path
