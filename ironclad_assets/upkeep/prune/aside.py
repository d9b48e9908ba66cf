"""Putting a thing aside, so that it can be put back until it is freed.

A file or folder gets a hidden name beside its own, which the next sweep would finish off, or moves to ``orphaned/``.
When that is right is the business of `hands`.
"""

import errno
import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ironclad_assets.storage import atomic
from ironclad_assets.storage.sealed import seal


@dataclass(slots=True)
class Aside:
    """One thing that is put aside: where it was and is, and what was made for it."""

    _places: list[tuple[Path, Path]] = field(default_factory=list)
    _made: list[Path] = field(default_factory=list)
    _doomed: list[Path] = field(default_factory=list)

    def write(self, note: Path, document: Mapping[str, object]) -> None:
        """Write what stays in place of the thing."""
        atomic.write_json(note, seal(dict(document)))
        self._made.append(note)

    def hide(self, path: Path) -> None:
        """Give a file or folder a hidden name beside its own, until it is freed.

        Raises:
            StorageUnavailable: the disk is read-only or away.
        """
        hidden = path.with_name(f".{secrets.token_hex(16)}{atomic.PARTIAL_SUFFIX}")
        try:
            path.rename(hidden)
        except OSError as error:
            raise atomic.storage_error(error, path) from error
        self._places.append((path, hidden))
        self._doomed.append(hidden)

    def move(self, path: Path, target: Path) -> None:
        """Move a file or folder to `target`, in a folder that was made for it.

        Raises:
            StorageUnavailable: it may not be moved, or a disk is full, read-only or away.
        """
        self._made.append(target.parent)
        try:
            path.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise atomic.storage_error(error, path) from error
            # Another file system: the copy is whole before the original goes.
            _copy(path, target)
            self.hide(path)
        else:
            self._places.append((path, target))
        atomic.sync_folder(target.parent)

    def put_back(self) -> None:
        """Let everything be where it was; what cannot be put back now stays where it is."""
        with suppress(OSError):
            for path, now in reversed(self._places):
                if os.path.lexists(path):
                    return  # fetched again by a reader
                now.rename(path)
                atomic.sync_folder(path.parent)
            for made in self._made:
                _remove(made)

    def free(self) -> None:
        """Remove what is hidden; what cannot be removed now is left over for the next sweep."""
        for hidden in self._doomed:
            with suppress(OSError):
                _remove(hidden)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    atomic.sync_folder(path.parent)


def _copy(source: Path, target: Path) -> None:
    work = target.with_name(f".{secrets.token_hex(16)}{atomic.PARTIAL_SUFFIX}")
    if source.is_dir():
        shutil.copytree(source, work, symlinks=True)
    else:
        shutil.copy2(source, work, follow_symlinks=False)
    for path in (work, *work.rglob("*")) if work.is_dir() else (work,):
        if not path.is_symlink():
            atomic.sync_file(path)
    work.rename(target)
