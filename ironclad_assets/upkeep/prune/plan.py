"""What a sweep would do, as values: kinds, removals, and the ground that a plan stands on.

A plan is a stream of removals, made by the modules beside and carried out by `hands`; a dry run shows
the very stream that a sweep carries out. Nothing here touches a file but to look at it.
"""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

from ironclad_assets.ledger.store import Ledger
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.prune.retention import Retention

PARTIAL_S = 3600.0
"""Age after which a temporary file that nobody works on is left over from a crash."""

DAY_S = 86_400.0

NOT_HERE = 0
"""Inode of an original that is in the object store alone."""

Guard = Literal["idle", "unknown_song", "unknown_original", "none"]
"""What must still hold when something goes: its songs are idle, there is no such song, no song has this original."""


class Kind(StrEnum):
    """Why something goes; `docs/upkeep.md` explains each."""

    PARTIAL = "partial"
    ORPHANED = "orphaned"
    INTERMEDIATE = "intermediate"
    CORRUPT = "corrupt"
    OLD = "old"


REPLACEABLE = frozenset({Kind.PARTIAL, Kind.INTERMEDIATE})
"""Kinds that lose nothing: unfinished writing, and what a retry makes again. The others count against the share."""


class How(StrEnum):
    """What happens to it."""

    REMOVE = "remove"
    MOVE = "move"
    """To ``orphaned/``, where it stays for some days."""

    RETIRE = "retire"
    """An artifact: its files go, its manifest stays as a note."""

    UNFILE = "unfile"
    """A file of the library: it goes, and its song's entry no longer names it."""


@dataclass(frozen=True, slots=True)
class Removal:
    """One thing that goes.

    Attributes:
        kind: why.
        how: what happens to it.
        path: of the file or folder, relative to `base`.
        why: for people.
        size_bytes: what that frees; 0 for a file with another name elsewhere.
        files: how many files those are.
        inode: with `changed_ns` (time of change), by which it is known again when its turn comes.
        song: whose it is; empty where it is nobody's.
        names: entries of the folder `path` that go, where not all do.
        guard: what must still hold then.
        holders: songs that must be idle.
        base: the store, or the home.
    """

    kind: Kind
    how: How
    path: str
    why: str
    size_bytes: int
    files: int
    inode: int
    changed_ns: int
    song: str = ""
    user_id: str = ""
    names: tuple[str, ...] = ()
    guard: Guard = "idle"
    holders: tuple[str, ...] = ()
    base: Literal["store", "home"] = "store"

    @property
    def paths(self) -> tuple[str, ...]:
        """Every file or folder that is gone afterwards, relative to `base`."""
        return tuple(f"{self.path}/{name}" for name in self.names) or (self.path,)

    def to_line(self) -> str:
        """Return the removal as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_line(cls, line: str) -> "Removal":
        """Return the removal that `to_line` spelled."""
        values = json.loads(line)
        for name in ("names", "holders"):
            values[name] = tuple(values[name])
        return cls(**{**values, "kind": Kind(values["kind"]), "how": How(values["how"])})


@dataclass(frozen=True, slots=True)
class Ground:
    """What a plan stands on. `now` is the time by which ages are measured, in Unix seconds."""

    store: Store
    ledger: Ledger
    settings: Settings
    retention: Retention
    now: float

    def folder(self, base: Literal["store", "home"]) -> Path:
        return self.store.root if base == "store" else self.settings.home_dir

    def age_s(self, *times: float) -> float:
        """Return the age of what has these times, in seconds: the youngest counts, and the future is young."""
        return self.now - max(times)


@dataclass(frozen=True, slots=True)
class Weight:
    """What a file or folder holds, and which it is. `newest` is the youngest time of change in it, in Unix seconds."""

    size_bytes: int
    files: int
    newest: float
    inode: int
    changed_ns: int


def weigh(path: Path | str) -> Weight | None:
    """Look at a file, or at a folder with all that is in it; None where there is nothing, or not all can be seen."""
    size, files = 0, 0
    try:
        status = os.lstat(path)
        newest = status.st_mtime
        for inner in walk(path) if stat.S_ISDIR(status.st_mode) else (status,):
            size += freed_bytes(inner)
            files += 1
            newest = max(newest, inner.st_mtime)
    except OSError:
        return None
    return Weight(size, files, newest, inode=status.st_ino, changed_ns=status.st_mtime_ns)


def freed_bytes(status: os.stat_result) -> int:
    """Return the bytes that are free once this name of a file is gone."""
    return status.st_size if status.st_nlink == 1 else 0


def walk(folder: Path | str, *, leniently: bool = False) -> Iterator[os.stat_result]:
    """Yield the status of everything below a folder that is no folder; links are not followed.

    `leniently`: what may not be looked at is passed over.
    """
    unseen = (OSError,) if leniently else (FileNotFoundError, NotADirectoryError)
    pending = [str(folder)]
    while pending:
        try:
            entries = os.scandir(pending.pop())
        except unseen:
            continue
        with entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                    continue
                try:
                    yield entry.stat(follow_symlinks=False)
                except unseen:
                    continue


def measure(folder: Path, *, but: str) -> int:
    """Return the bytes of all files below a folder that can be seen, without its folder `but`; each name counts."""
    inner = [entry for entry in names_in(folder) if entry.name != but]
    folders = [entry for entry in inner if entry.is_dir(follow_symlinks=False)]
    files = [entry for entry in inner if entry not in folders]
    sizes = sum(status.st_size for one in folders for status in walk(one.path, leniently=True))
    return sizes + sum(one.stat(follow_symlinks=False).st_size for one in files)


def names_in(folder: Path | str) -> list[os.DirEntry[str]]:
    """Return the entries of a folder; none where it is missing."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def names_seen_in(folder: Path | str) -> list[os.DirEntry[str]]:
    """Return the entries of a folder that may be another program's; none where it may not be looked into."""
    with suppress(OSError):
        return names_in(folder)
    return []
