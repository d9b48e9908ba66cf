"""Which files in the media library belong to a song.

Three witnesses, best first: a mark that travels with the file itself (an extended attribute, set before the file
gets its name), the song's last library entry, and a journal of intended paths that outlives a crash between the
placing and the entry. Where a file system keeps no attributes, equal bytes under a claimed path count as ours.
Placing and removing files is `pipeline/organise.py`'s.
"""

import fcntl
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from ironclad_assets.contracts.v1.base import SONG_PATTERN, FileRecord
from ironclad_assets.contracts.v1.library_entry import EntryFile, LibraryEntry
from ironclad_assets.storage import atomic
from ironclad_assets.storage.hashing import hash_file
from ironclad_assets.storage.store import Store

_MARK = "user.ironclad.song"
_JOURNAL = "claims.json"
_LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class Claims:
    """What one song has put, or was about to put, into the library.

    `records` is by key, ``root/path``.
    """

    song: str
    journal: Path
    records: Mapping[str, FileRecord]
    previous: tuple[EntryFile, ...]

    def owns(self, file: Path, *, key: str, record: FileRecord | None = None, thorough: bool = True) -> bool:
        """Return whether the existing `file` is this song's.

        Args:
            file: a file in the library.
            key: its ``root/path``.
            record: bytes that would make an unmarked file ours, such as those about to be put there.
            thorough: whether an unmarked file is read; else its size suffices.
        """
        if file.is_symlink() or not file.is_file():
            return False
        mark = read_mark(file)
        if mark is not None:
            return mark == self.song
        known = [known for known in (self.records.get(key), record) if known is not None]
        size = file.stat().st_size
        if size == 0 and key in self.records:
            return True  # reserved by a run that was killed, on a file system without links
        if not any(one.size_bytes == size for one in known):
            return False
        return not thorough or hash_file(file) in {one.sha256 for one in known}

    def earlier_path(self, *, role: str, name: str, root: str) -> str | None:
        """Return where the song's last entry had the file of that role and name, below `root`."""
        for file in self.previous:
            if (file.role, file.name, file.root) == (role, name, root):
                return file.file.path
        return None

    def announce(self, intended: Mapping[str, FileRecord]) -> "Claims":
        """Record durably that the song is about to have `intended`; return the claims with them."""
        records = {**self.records, **intended}
        atomic.make_folder(self.journal.parent)
        atomic.write_json(self.journal, {key: record.model_dump() for key, record in records.items()})
        return Claims(song=self.song, journal=self.journal, records=records, previous=self.previous)


def load_claims(store: Store, *, song: str, previous: LibraryEntry | None, leniently: bool = False) -> Claims:
    """Return the claims of `song`, without those that no longer name a file.

    `leniently`: a journal that is damaged names nothing.

    Raises:
        ValueError: it is damaged.
    """
    journal = _folder(store, song) / _JOURNAL
    records: dict[str, FileRecord] = {}
    with suppress(ValueError) if leniently else nullcontext():
        records = _read_journal(journal)
    files = previous.files if previous else ()
    records.update({f"{file.root}/{file.file.path}": file.file for file in files})
    present = {key: record for key, record in records.items() if (store.root / key).exists()}
    return Claims(song=song, journal=journal, records=present, previous=files)


@contextmanager
def hold_entry(store: Store, *, song: str) -> Iterator[None]:
    """Keep every other process from moving `song`'s files in the library meanwhile, waiting for one that does.

    The kernel lets go however the holder ends; a file system that knows no locks keeps nobody away.
    """
    folder = _folder(store, song)
    atomic.make_folder(folder)
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def marked_by_us(file: Path, *, store: Store) -> bool:
    """Return whether `file` is marked as that of a song, whichever, that this store knows."""
    mark = read_mark(file)
    return bool(mark) and re.fullmatch(SONG_PATTERN, str(mark)) is not None and _folder(store, str(mark)).is_dir()


def set_mark(descriptor: int, *, song: str) -> None:
    """Mark the open file as `song`'s, where the file system can."""
    with suppress(OSError):
        os.setxattr(descriptor, _MARK, song.encode())


def read_mark(file: Path) -> str | None:
    """Return the song that `file` is marked with, or None."""
    try:
        return os.getxattr(file, _MARK, follow_symlinks=False).decode(errors="replace")
    except OSError:
        return None


def keys(files: Iterable[EntryFile]) -> frozenset[str]:
    """Return the ``root/path`` of each file."""
    return frozenset(f"{file.root}/{file.file.path}" for file in files)


def _folder(store: Store, song: str) -> Path:
    return store.stage("library_entry", song).path


def _read_journal(journal: Path) -> dict[str, FileRecord]:
    try:
        content = json.loads(journal.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"{journal} is no journal")
    return {key: FileRecord.model_validate(value) for key, value in content.items()}
