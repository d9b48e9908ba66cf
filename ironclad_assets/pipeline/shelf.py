"""One song's files in the library while they are placed: which path each gets, and what goes before and after.

A name that another song has is never taken; a file of the song's own is replaced, or moved where only its path is
another. The hands that do it are `pipeline/hands.py`'s, whose file a file is, `pipeline/ownership.py` knows.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ironclad_assets.contracts.v1.base import FileRecord
from ironclad_assets.contracts.v1.library_entry import EntryFile
from ironclad_assets.errors import ErrorCode, PermanentFailure
from ironclad_assets.pipeline.hands import Hands
from ironclad_assets.pipeline.naming import fold
from ironclad_assets.pipeline.ownership import Claims, keys, marked_by_us
from ironclad_assets.pipeline.shelving import spelled_as_on_disk
from ironclad_assets.storage.hashing import hash_file
from ironclad_assets.storage.store import Store

Role = Literal["target", "stem", "dj_stems", "original", "lyrics", "cover"]
Root = Literal["output", "output-stems"]

ROOTS: tuple[Root, ...] = ("output", "output-stems")
COVER = "cover.jpg"
COVER_NAMES = frozenset(f"{stem}.{end}" for stem in ("cover", "folder", "front") for end in ("jpg", "jpeg", "png"))
MAX_COPIES = 1000
_COPY_NUMBER = re.compile(r" \((\d{1,3})\)\.[^/]+$")


@dataclass(frozen=True, slots=True)
class Delivery:
    """One file on its way to the path it wants as first, second, ... copy.

    `source` is where its bytes are; None for a file that is in the library already and can only be moved. `earlier`
    is its path so far below its root; None: the one of the song's last entry.
    """

    role: Role
    name: str
    root: Root
    record: FileRecord
    path: Callable[[int], str]
    source: Path | None
    earlier: str | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """The path chosen for a delivery. `found` is the song's own file that has it now and may be replaced."""

    path: str
    found: Path | None


@dataclass(slots=True)
class Shelf:
    """One song's place in the library.

    `trusting`: files that are marked as the song's, or have the size on record, are not read again. `left` are
    covers whose songs are gone while others of the album stay: by folder, with what they hold.
    """

    store: Store
    song: str
    claims: Claims
    hands: Hands
    trusting: bool = False
    left: dict[Path, str] = field(default_factory=dict)
    moved: list[str] = field(default_factory=list)
    missing: list[EntryFile] = field(default_factory=list)

    def choose(self, deliveries: Sequence[Delivery]) -> dict[str, Slot]:
        """Return the slot that each would get, in their order, by ``root/path``; nothing is done."""
        chosen: dict[str, Slot] = {}
        taken: frozenset[str] = frozenset()
        for item in deliveries:
            slot = self._choose(item, taken=taken)
            key = f"{item.root}/{slot.path}"
            chosen[key] = slot
            taken |= {fold(key)}
        return chosen

    def place_all(self, deliveries: Sequence[Delivery], *, chosen: Mapping[str, Slot] | None = None) -> list[EntryFile]:
        """Copy first what must be copied, then name everything, so that a full disk changes nothing visible.

        Args:
            deliveries: what is to be placed.
            chosen: the answer of `choose`, where it was asked before and nothing happened since.
        """
        chosen = self.choose(deliveries) if chosen is None else chosen
        ready = []
        for item, slot in zip(deliveries, chosen.values(), strict=True):
            file = self._bring(item, slot, taken=frozenset(chosen))
            if file is None and not self._stays(item, slot):
                self.missing.append(_entry(item, path=self._earlier(item) or slot.path))
            else:
                ready.append((item, slot, file))
        self._announce([(item, slot) for item, slot, file in ready if file is not None])
        placed: list[EntryFile] = []
        for item, slot, file in ready:
            placed.append(self._name(item, slot, file=file, placed=placed))
        return placed

    def place_fixed(self, deliveries: Iterable[Delivery]) -> list[EntryFile]:
        """Put files that can have one name only where it is free, or ours: covers, lyrics."""
        ready = []
        for item in deliveries:
            found = self.hands.listing.find(self.store.library(item.root) / item.path(1))
            slot = Slot(path=item.path(1), found=found)
            if found is None or self._is_own(found, item):
                with suppress(PermanentFailure):  # a song is never withheld for a cover that is damaged
                    ready.append((item, slot, self._bring(item, slot, taken=frozenset())))
        self._announce([(item, slot) for item, slot, file in ready if file is not None])
        placed = []
        for item, slot, file in ready:
            if file is None and not self._stays(item, slot):
                continue
            try:
                if file is not None:
                    self._move(item, slot, file=file)
            except FileExistsError:
                continue  # another song was faster
            placed.append(_entry(item, path=slot.path))
        return placed

    def has_cover(self, folder: Path, *, root: Root) -> bool:
        """Return whether a folder has a cover, whatever it is called, and not this song's."""
        if not any(fold(name) in COVER_NAMES for name in self.hands.listing.names(folder)):
            return False
        key = f"{root}/{(folder / COVER).relative_to(self.store.library(root)).as_posix()}"
        return not self.claims.owns(folder / COVER, key=key, thorough=not self.trusting)

    def remove_all_but(self, placed: Sequence[EntryFile]) -> tuple[str, ...]:
        """Remove this song's files of earlier runs that are not among `placed`; return the keys that are gone."""
        kept = keys(placed) | keys(self.missing)
        standing = [self.store.root / key for key in kept]
        gone = set(self.moved)
        others = set(self.claims.records) - kept - gone
        for key in sorted(others, key=lambda key: (key.endswith(f"/{COVER}"), key)):
            file = self.store.root / key
            if not self.claims.owns(file, key=key) or any(_is_same(file, other) for other in standing):
                continue  # a stranger's by now, or the same file under another spelling
            if file.name == COVER and self._has_others(file.parent):
                self.left[file.parent] = self.claims.records[key].sha256
                continue  # the album has other songs, which keep the cover
            self.hands.remove(file, root=key.partition("/")[0])
            gone.add(key)
        # What a run that was killed has emptied is no file any more, but may be a folder still.
        for key in sorted(gone | (keys(self.claims.previous) - kept)):
            folder = (self.store.root / key).parent
            self._remove_left_cover(folder, root=key.partition("/")[0])
            self.hands.leave(folder, root=key.partition("/")[0])
        return tuple(sorted(gone - kept))

    def _remove_left_cover(self, folder: Path, *, root: str) -> None:
        """Remove the cover of an album whose last song went away, where a song of ours had brought it."""
        cover = folder / COVER
        if self._names(folder) != [COVER] or not cover.is_file():
            return
        if marked_by_us(cover, store=self.store) or self.left.get(folder) == hash_file(cover):
            self.hands.remove(cover, root=root)
            self.left.pop(folder, None)

    def _has_others(self, folder: Path) -> bool:
        return len(self._names(folder)) > 1

    def _names(self, folder: Path) -> list[str]:
        if not self.trusting:
            self.hands.listing.forget(folder)
        return self.hands.listing.names(folder)

    def _choose(self, item: Delivery, *, taken: frozenset[str]) -> Slot:
        """Return the path that `item` had before if it still fits the tags, else the first that is free or ours."""
        root, find = self.store.library(item.root), self.hands.listing.find
        for copy in (*self._earlier_copy(item), *range(1, MAX_COPIES)):
            path = spelled_as_on_disk(root, item.path(copy), find=find)
            if fold(f"{item.root}/{path}") in taken:
                continue
            found = find(root / path)
            if found is None or (self._is_own(found, item) and not self._is_anothers(found, item)):
                return Slot(path=path, found=found)
        raise PermanentFailure(
            f"{MAX_COPIES} songs are called {item.path(1)!r} already; give this one other tags",
            code=ErrorCode.INTERNAL,
        )

    def _is_own(self, file: Path, item: Delivery) -> bool:
        key = f"{item.root}/{file.relative_to(self.store.library(item.root)).as_posix()}"
        return self.claims.owns(file, key=key, record=item.record, thorough=not self.trusting)

    def _is_anothers(self, file: Path, item: Delivery) -> bool:
        """Return whether a file that can only be moved would take the place of another such file of the song."""
        path = file.relative_to(self.store.library(item.root)).as_posix()
        others = (one for one in self.claims.previous if one.root == item.root and one.file.path == path)
        return item.source is None and any((one.role, one.name) != (item.role, item.name) for one in others)

    def _earlier(self, item: Delivery) -> str | None:
        return item.earlier or self.claims.earlier_path(role=item.role, name=item.name, root=item.root)

    def _earlier_copy(self, item: Delivery) -> tuple[int, ...]:
        earlier = self._earlier(item)
        match = _COPY_NUMBER.search(earlier) if earlier else None
        if not earlier or not match or not 2 <= int(match[1]) < MAX_COPIES:
            return ()
        standing = (self.store.library(item.root) / earlier).exists()
        return (int(match[1]),) if standing and fold(item.path(int(match[1]))) == fold(earlier) else ()

    def _stays(self, item: Delivery, slot: Slot) -> bool:
        """Return whether the song's own file has the very path, and the very bytes, already."""
        file = self.store.library(item.root) / slot.path
        return slot.found == file and self._holds(file, item.record)

    def _holds(self, file: Path, record: FileRecord) -> bool:
        if not file.is_file() or file.stat().st_size != record.size_bytes:
            return False
        return self.trusting or hash_file(file) == record.sha256

    def _bring(self, item: Delivery, slot: Slot, *, taken: frozenset[str]) -> Path | None:
        """Return the file that is to get the slot's name: the song's own under another name, else a copy.

        None where the file stands there already, or there is none. A name that is in `taken`, the keys of all paths
        that were chosen, is about to be that of another file.
        """
        if self._stays(item, slot):
            return None
        root = self.store.library(item.root)
        for path in (self._earlier(item), slot.found and slot.found.relative_to(root).as_posix()):
            file = root / path if path else None
            if file is None or f"{item.root}/{path}" in taken or not self._holds(file, item.record):
                continue
            if self.claims.owns(file, key=f"{item.root}/{path}") and not self._shared(item, file):
                return file
        if item.source is None:
            return None
        return self.hands.copy(item.source, record=item.record, root=item.root)

    def _shared(self, item: Delivery, file: Path) -> bool:
        """Return whether a cover is that of other songs too, so that it is copied instead of moved."""
        return item.role == "cover" and self._has_others(file.parent)

    def _announce(self, intended: Sequence[tuple[Delivery, Slot]]) -> None:
        records = {
            f"{item.root}/{slot.path}": item.record.model_copy(update={"path": slot.path}) for item, slot in intended
        }
        if records:
            self.claims = self.hands.announce(self.claims, records=records)

    def _name(self, item: Delivery, slot: Slot, *, file: Path | None, placed: Sequence[EntryFile]) -> EntryFile:
        while file is not None:
            try:
                self._move(item, slot, file=file)
                break
            except FileExistsError:
                slot = self._choose(item, taken=frozenset(map(fold, keys(placed))))
                self._announce([(item, slot)])
        return _entry(item, path=slot.path)

    def _move(self, item: Delivery, slot: Slot, *, file: Path) -> None:
        root = self.store.library(item.root)
        destination = root / slot.path
        # Where case means nothing, the new spelling of a name is taken by the old one.
        ours = slot.found is not None and (slot.found == destination or _is_same(slot.found, destination))
        self.hands.name(file, destination=destination, root=item.root, replace=ours)
        key = _key_of(file, store=self.store)
        if key in self.claims.records:
            self.moved.append(key)


def _key_of(file: Path, *, store: Store) -> str:
    return file.relative_to(store.root).as_posix() if file.is_relative_to(store.root) else ""


def _is_same(file: Path, other: Path) -> bool:
    """Return whether two paths are one directory entry, spelled differently where case means nothing.

    A move that was killed half way leaves a file with two names: those are two entries.
    """
    try:
        return file.samefile(other) and not all(path.name in os.listdir(path.parent) for path in (file, other))
    except OSError:
        return False


def _entry(item: Delivery, *, path: str) -> EntryFile:
    record = item.record.model_copy(update={"path": path})
    return EntryFile(role=item.role, name=item.name, root=item.root, file=record)
