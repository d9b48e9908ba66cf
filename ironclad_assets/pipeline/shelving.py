"""Moves single files into and out of a library root, safely beside other programs and other songs.

Copies land in a hidden folder of the same root and get their name in one step; folders keep the spelling they
have on disk. Which file goes where is decided in `pipeline/organise.py`.
"""

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ironclad_assets.contracts.v1.base import FileRecord
from ironclad_assets.errors import ErrorCode, PermanentFailure
from ironclad_assets.pipeline.naming import fold
from ironclad_assets.pipeline.ownership import set_mark
from ironclad_assets.storage import atomic
from ironclad_assets.storage.hashing import BLOCK_BYTES

WAITING = re.compile(r"[0-9a-f]{64}-[0-9]+")
"""What a file is called that waits for its name."""

_RETRIES = 8
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
_MAX_FOLDER_COPIES = 100


@contextmanager
def incoming_folder(root: Path, *, song: str) -> Iterator[Path]:
    """Give the hidden folder in which `song`'s files wait for their names; it is gone afterwards.

    Leftovers of a run that was killed are removed first: the folder's name is the song's alone.
    """
    folder = clear_incoming(root, song=song)
    try:
        atomic.make_folder(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def clear_incoming(root: Path, *, song: str) -> Path:
    """Remove what a run of `song` that was killed left waiting below `root`; return that folder's name."""
    folder = root / f".{song}{atomic.PARTIAL_SUFFIX}"
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def copy_in(source: Path, *, record: FileRecord, folder: Path, song: str) -> Path:
    """Copy `source` into the hidden `folder`, marked as `song`'s and synced; return the copy.

    The bytes are read and written, never linked or cloned, so the library survives the stage's removal and
    damage to one copy leaves the other whole.

    Raises:
        StorageUnavailable: disk full, read-only or away.
        PermanentFailure: the bytes are not those of `record`.
    """
    copy = folder / f"{record.sha256}-{len(list(folder.iterdir()))}"
    digest = hashlib.sha256()
    try:
        with source.open("rb") as reader, copy.open("xb") as writer:
            while block := reader.read(BLOCK_BYTES):
                digest.update(block)
                writer.write(block)
            writer.flush()
            os.fchmod(writer.fileno(), 0o644)
            set_mark(writer.fileno(), song=song)
            os.fsync(writer.fileno())
    except FileNotFoundError as error:
        raise PermanentFailure(f"{record.path} is missing", code=ErrorCode.ARTIFACT_MISSING) from error
    except OSError as error:
        raise atomic.storage_error(error, copy) from error
    if digest.hexdigest() != record.sha256:
        raise PermanentFailure(f"{record.path} differs from its record", code=ErrorCode.ARTIFACT_DAMAGED)
    return copy


def give_name(copy: Path, *, destination: Path, replace: bool) -> None:
    """Rename the synced `copy` to `destination`, making its folders; `sync_folders` makes it last.

    Raises:
        FileExistsError: `replace` is False and somebody has that name.
        StorageUnavailable: disk full, read-only or away.
    """
    attempts = 0
    while True:
        attempts += 1
        try:
            atomic.make_folder(destination.parent)
            _rename(copy, destination, replace=replace)
        except FileNotFoundError:
            # Another song removed the folder between the two steps, because it had become empty.
            if attempts == _RETRIES or not copy.exists():
                raise
        except FileExistsError:
            raise
        except OSError as error:
            if replace or error.errno not in _NO_LINKS:
                raise atomic.storage_error(error, destination) from error
            _reserve(destination)
            replace = True
        else:
            return


def sync_folders(folders: Iterable[Path]) -> None:
    """Make the names in `folders` durable; those that are gone by now have none.

    Raises:
        StorageUnavailable: disk full, read-only or away.
    """
    for folder in sorted(set(folders)):
        try:
            atomic.sync_folder(folder)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise atomic.storage_error(error, folder) from error


def _rename(source: Path, destination: Path, *, replace: bool) -> None:
    if replace:
        source.replace(destination)
    else:
        os.link(source, destination)
        source.unlink()


def _reserve(destination: Path) -> None:
    """Take the name with an empty file, for file systems without hard links (exFAT, some network shares).

    Raises:
        FileExistsError: somebody has that name.
    """
    try:
        os.close(os.open(destination, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    except FileExistsError:
        raise
    except OSError as error:
        raise atomic.storage_error(error, destination) from error


def occupant(path: Path) -> Path | None:
    """Return the entry that has `path`'s name on any file system: same spelling, other case, or other Unicode form."""
    if path.is_symlink() or path.exists():
        return path
    wanted = fold(path.name)
    return next((path.parent / name for name in _names(path.parent) if fold(name) == wanted), None)


def spelled_as_on_disk(root: Path, relative: str, *, find: Callable[[Path], Path | None] = occupant) -> str:
    """Return `relative` with each folder spelled as it is on disk already.

    A name that a file or a symbolic link has is no folder; the folder is then ``Name (2)``. `find` says which entry
    has a path's name.
    """
    *folders, file = relative.split("/")
    current = root
    for name in folders:
        current = _folder(current, name, find=find)
    return (current / file).relative_to(root).as_posix()


def remove_file(file: Path, *, root: Path) -> None:
    """Remove `file` and every folder above it that is empty then, up to `root`."""
    try:
        file.unlink(missing_ok=True)
        atomic.sync_folder(file.parent)
    except FileNotFoundError:
        pass  # the folder is gone already: another song emptied it
    except OSError as error:
        raise atomic.storage_error(error, file) from error
    remove_empty(file.parent, root=root)


def remove_empty(folder: Path, *, root: Path) -> None:
    """Remove `folder` and its parents below `root` as far as they are empty."""
    current = folder
    while current != root and root in current.parents:
        try:
            current.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            return  # not empty: somebody's files are in it
        current = current.parent


def _folder(parent: Path, name: str, *, find: Callable[[Path], Path | None]) -> Path:
    for copy in range(1, _MAX_FOLDER_COPIES):
        candidate = parent / (name if copy == 1 else f"{name} ({copy})")
        found = find(candidate)
        if found is None:
            return candidate
        if (found.is_dir() and not found.is_symlink()) or not os.path.lexists(found):
            return found  # a folder, or one that a preview has made in thought
    raise PermanentFailure(f"{parent / name} is not a folder; move that file away", code=ErrorCode.INTERNAL)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
