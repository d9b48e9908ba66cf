"""Counts what a deletion removes, by kind, and removes files so that they are counted."""

import os
import shutil
from collections import Counter
from pathlib import Path

from ironclad_assets.storage import atomic
from ironclad_assets.storage.store import Store


class Tally:
    """How many things of each kind went, and how large they were."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def add(self, kind: str, count: int = 1, *, size_bytes: int = 0) -> None:
        """Count `count` things of a kind that had `size_bytes` together."""
        self._counts[kind] += count
        self._bytes[kind] += size_bytes

    @property
    def removed(self) -> dict[str, dict[str, int]]:
        """What went, by kind: ``count``, and ``bytes`` where it had a size; what was not there is left out."""
        return {
            kind: {"count": count, **({"bytes": self._bytes[kind]} if self._bytes[kind] else {})}
            for kind, count in sorted(self._counts.items())
            if count
        }

    @property
    def files(self) -> int:
        """How many things were counted at all."""
        return self._counts.total()


def remove_path(path: Path, *, tally: Tally, kind: str) -> None:
    """Remove a file, or a folder with everything in it, and count its files; what is gone already counts nothing.

    Raises:
        StorageUnavailable: the disk is read-only or away; what is left is removed by doing it again.
    """
    try:
        if path.is_symlink() or not path.is_dir():
            size = path.lstat().st_size
            path.unlink()
            tally.add(kind, size_bytes=size)
        else:
            sizes = [file.lstat().st_size for file in path.rglob("*") if file.is_symlink() or file.is_file()]
            shutil.rmtree(path)
            tally.add(kind, len(sizes), size_bytes=sum(sizes))
        atomic.sync_folder(path.parent)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise atomic.storage_error(error, path) from error


def remove_named(name: str, *, descriptor: int, tally: Tally, kind: str) -> None:
    """Remove and count the file that is called `name` in an open folder; one that is gone already counts nothing.

    Raises:
        StorageUnavailable: the disk is read-only or away; doing it again goes on.
    """
    try:
        size = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_size
        os.unlink(name, dir_fd=descriptor)
        tally.add(kind, size_bytes=size)
        os.fsync(descriptor)
    except FileNotFoundError:
        return
    except OSError as error:
        raise atomic.storage_error(error, Path(name)) from error


def remove_stored(store: Store, relative: str, *, tally: Tally, kind: str) -> None:
    """Remove the file or folder `relative` of the store, here and where the store lasts, and count its files.

    Raises:
        StorageUnavailable: the store is away or read-only; what is left is removed by doing it again.
    """
    here = store.root / relative
    known = {here: here.lstat().st_size} if here.is_file() or here.is_symlink() else _sizes(here)
    there = {store.root / one.path: one.size_bytes for one in store.lasting(relative)} if store.mirror else {}
    sizes = {**there, **known}
    store.discard(relative)
    tally.add(kind, len(sizes), size_bytes=sum(sizes.values()))


def _sizes(folder: Path) -> dict[Path, int]:
    return {path: path.lstat().st_size for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
