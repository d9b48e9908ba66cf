"""The room `library_entry`: put a song's delivered files where media servers look for them.

A name that another song has is never taken, not even by two processes at once. A second run replaces only files
of its own, moves the entry where the tags changed, and leaves no empty folder behind. Names come from
`pipeline/naming.py`; whose file it is, `pipeline/ownership.py` knows; `pipeline/shelving.py` moves single files.
"""

import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from ironclad_assets.contracts.v1.base import CheckOutcome, FileRecord
from ironclad_assets.contracts.v1.library_entry import EntryFile, LibraryEntry
from ironclad_assets.contracts.v1.recombined_track import RecombinedTrack, Track
from ironclad_assets.contracts.v1.song_metadata import SongMetadata
from ironclad_assets.errors import ErrorCode, PermanentFailure
from ironclad_assets.pipeline.naming import fold, track_path
from ironclad_assets.pipeline.ownership import Claims, keys, load_claims
from ironclad_assets.pipeline.shelving import (
    copy_in,
    give_name,
    incoming_folder,
    occupant,
    remove_file,
    spelled_as_on_disk,
)
from ironclad_assets.pipeline.variants import describe_variant, name_track
from ironclad_assets.storage.hashing import hash_file
from ironclad_assets.storage.store import Store

Role = Literal["target", "stem", "dj_stems", "cover"]
Root = Literal["output", "output-stems"]

COVER = "cover.jpg"
_COVER_NAMES = frozenset(f"{stem}.{end}" for stem in ("cover", "folder", "front") for end in ("jpg", "jpeg", "png"))
_MAX_COPIES = 1000
_COPY_NUMBER = re.compile(r" \((\d{1,3})\)(?:\.stem)?\.[^.]+$")


@dataclass(frozen=True, slots=True)
class _Delivery:
    """One file on its way into the library: where it is, and the path it wants as first, second, ... copy."""

    role: Role
    name: str
    root: Root
    source: Path
    record: FileRecord
    path: Callable[[int], str]


@dataclass(frozen=True, slots=True)
class _Slot:
    """The path chosen for a delivery. `ours` says that what stands there now may be replaced."""

    path: str
    ours: bool


def organise(
    track: RecombinedTrack,
    *,
    track_folder: Path,
    metadata: SongMetadata,
    metadata_folder: Path,
    previous: LibraryEntry | None,
    store: Store,
    song: str,
) -> LibraryEntry:
    """Place every delivered file and the covers; return where they stand.

    Args:
        track: the files to deliver, below `track_folder`.
        track_folder: folder of the delivered files.
        metadata: the song's tags; its art lies below `metadata_folder`.
        metadata_folder: folder of the art.
        previous: the song's last entry, whose files may be replaced or moved; None at the first time.
        store: the store whose libraries are meant.
        song: key of the song, by which files are known as its own.

    Raises:
        StorageUnavailable: the library is away, full or read-only; what was visible before still is.
        PermanentFailure: a delivered file is missing or differs from its record.
    """
    store.require_ready()
    shelf = _Shelf(store=store, song=song, claims=load_claims(store, song=song, previous=previous))
    deliveries = [_delivery(item, folder=track_folder, metadata=metadata) for item in track.tracks]
    with ExitStack() as stack:
        roots = sorted({item.root for item in deliveries})
        incoming = {root: stack.enter_context(incoming_folder(store.library(root), song=song)) for root in roots}
        placed = shelf.place_all(deliveries, incoming=incoming)
        if metadata.artwork is not None:
            covers = _cover_deliveries(placed, record=metadata.artwork.file, folder=metadata_folder)
            placed += shelf.place_covers(covers, incoming=incoming)
    return LibraryEntry(files=tuple(placed), replaced=shelf.remove_all_but(placed))


def check_entry(entry: LibraryEntry, *, store: Store) -> tuple[CheckOutcome, ...]:
    """Return whether every file of the entry is inside its library, and whole."""
    outside, different = [], []
    for item in entry.files:
        root = store.library(item.root).resolve()
        file = root / item.file.path
        if not file.resolve().is_relative_to(root):
            outside.append(item.file.path)
        elif not file.is_file() or hash_file(file) != item.file.sha256:
            different.append(item.file.path)
    return (
        CheckOutcome(name="path_inside_library", passed=not outside, detail=", ".join(outside)),
        CheckOutcome(
            name="library_files_whole",
            passed=bool(entry.files) and not different,
            detail=", ".join(different),
            values={"files": len(entry.files)},
        ),
    )


@dataclass(slots=True)
class _Shelf:
    """One song's files in the library, while they are being placed."""

    store: Store
    song: str
    claims: Claims

    def place_all(self, deliveries: list[_Delivery], *, incoming: dict[Root, Path]) -> list[EntryFile]:
        """Copy all deliveries first, then name them, so that a full disk changes nothing that is visible."""
        chosen: dict[str, _Slot] = {}
        for item in deliveries:
            slot = self._choose(item, taken=frozenset(map(fold, chosen)))
            chosen[f"{item.root}/{slot.path}"] = slot
        slots = list(chosen.values())
        copies = [self._copy(item, slot, incoming=incoming) for item, slot in zip(deliveries, slots, strict=True)]
        self._announce(deliveries, slots)
        placed: list[EntryFile] = []
        for item, slot, copy in zip(deliveries, slots, copies, strict=True):
            placed.append(self._name(item, slot, copy=copy, placed=placed))
        return placed

    def place_covers(self, covers: list[_Delivery], *, incoming: dict[Root, Path]) -> list[EntryFile]:
        """Put a cover into each album folder that has none, or has ours."""
        placed = []
        for item in covers:
            folder = self.store.library(item.root) / item.path(1).rpartition("/")[0]
            file = folder / COVER
            ours = self.claims.owns(file, key=f"{item.root}/{item.path(1)}")
            if not ours and any(fold(entry.name) in _COVER_NAMES for entry in folder.iterdir()):
                continue
            slot = _Slot(path=item.path(1), ours=ours)
            copy = self._copy(item, slot, incoming=incoming)
            self._announce([item], [slot])
            try:
                if copy is not None:
                    give_name(copy, destination=file, replace=ours)
            except FileExistsError:
                continue  # another song of the album was faster
            placed.append(_entry(item, path=slot.path))
        return placed

    def remove_all_but(self, placed: list[EntryFile]) -> tuple[str, ...]:
        """Remove this song's files of earlier runs that are not among `placed`; return their keys."""
        kept = keys(placed)
        standing = [self.store.root / key for key in kept]
        others = sorted(set(self.claims.records) - kept, key=lambda key: (key.endswith(f"/{COVER}"), key))
        removed = []
        for key in others:
            file = self.store.root / key
            if not self.claims.owns(file, key=key) or any(file.samefile(other) for other in standing):
                continue  # a stranger's by now, or the same file under another spelling
            if file.name == COVER and len(list(file.parent.iterdir())) > 1:
                continue  # the album has other songs, which keep the cover
            remove_file(file, root=self.store.root / key.partition("/")[0])
            removed.append(key)
        return tuple(removed)

    def _choose(self, item: _Delivery, *, taken: frozenset[str]) -> _Slot:
        """Return the path that `item` had before if it still fits the tags, else the first that is free or ours."""
        root = self.store.library(item.root)
        for copy in (*self._earlier_copy(item), *range(1, _MAX_COPIES)):
            path = spelled_as_on_disk(root, item.path(copy))
            key = f"{item.root}/{path}"
            if fold(key) in taken:
                continue
            found = occupant(root / path)
            if found is None:
                return _Slot(path=path, ours=False)
            if self.claims.owns(found, key=f"{item.root}/{found.relative_to(root).as_posix()}", record=item.record):
                return _Slot(path=path, ours=True)
        raise PermanentFailure(
            f"{_MAX_COPIES} songs are called {item.path(1)!r} already; give this one other tags",
            code=ErrorCode.INTERNAL,
        )

    def _earlier_copy(self, item: _Delivery) -> tuple[int, ...]:
        earlier = self.claims.earlier_path(role=item.role, name=item.name, root=item.root)
        match = _COPY_NUMBER.search(earlier) if earlier else None
        if not earlier or not match or not 2 <= int(match[1]) < _MAX_COPIES:
            return ()
        standing = (self.store.library(item.root) / earlier).exists()
        return (int(match[1]),) if standing and fold(item.path(int(match[1]))) == fold(earlier) else ()

    def _copy(self, item: _Delivery, slot: _Slot, *, incoming: dict[Root, Path]) -> Path | None:
        """Return a copy that waits for its name, or None where the same bytes stand there already."""
        file = self.store.library(item.root) / slot.path
        if slot.ours and file.is_file() and hash_file(file) == item.record.sha256:
            return None
        return copy_in(item.source, record=item.record, folder=incoming[item.root], song=self.song)

    def _announce(self, deliveries: list[_Delivery], slots: list[_Slot]) -> None:
        intended = {
            f"{item.root}/{slot.path}": item.record.model_copy(update={"path": slot.path})
            for item, slot in zip(deliveries, slots, strict=True)
        }
        self.claims = self.claims.announce(intended)

    def _name(self, item: _Delivery, slot: _Slot, *, copy: Path | None, placed: list[EntryFile]) -> EntryFile:
        """Give `copy` its name; where another song was faster, the next free one."""
        while copy is not None:
            try:
                give_name(copy, destination=self.store.library(item.root) / slot.path, replace=slot.ours)
                break
            except FileExistsError:
                slot = self._choose(item, taken=frozenset(map(fold, keys(placed))))
                self._announce([item], [slot])
        return _entry(item, path=slot.path)


def _delivery(track: Track, *, folder: Path, metadata: SongMetadata) -> _Delivery:
    variant = describe_variant(track.name, kind=track.kind, stems=track.stems)
    name = name_track(metadata, variant=variant, extension=track.extension)
    return _Delivery(
        role=track.kind,
        name=track.name,
        root="output" if track.kind == "target" else "output-stems",
        source=folder / track.file.path,
        record=track.file,
        path=lambda copy: track_path(name, copy=copy),
    )


def _cover_deliveries(placed: list[EntryFile], *, record: FileRecord, folder: Path) -> list[_Delivery]:
    albums = sorted({(item.root, item.file.path.rpartition("/")[0]) for item in placed})
    return [
        _Delivery(
            role="cover",
            name="cover",
            root=root,
            source=folder / record.path,
            record=record,
            path=partial(_always, f"{album}/{COVER}"),
        )
        for root, album in albums
    ]


def _always(path: str, _copy: int) -> str:
    return path


def _entry(item: _Delivery, *, path: str) -> EntryFile:
    record = item.record.model_copy(update={"path": path})
    return EntryFile(role=item.role, name=item.name, root=item.root, file=record)
