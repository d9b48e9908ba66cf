"""Entries that are in the library already, moved to where present tags and templates want them, or only shown there.

Nothing is separated, encoded or copied again: an entry's own files get other names, then its manifest says so. Both
ways make the same decisions (`pipeline/shelf.py`); a preview only has pretended hands (`pipeline/hands.py`). An entry
that a job works on, or whose tags are not in the store any more, is left alone and named.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ironclad_assets.contracts.v1.library_entry import EntryFile, LibraryEntry, SongRecord
from ironclad_assets.contracts.v1.manifest import Manifest
from ironclad_assets.contracts.v1.recombined_track import DJ_STEMS, DJ_STEMS_EXTENSION
from ironclad_assets.contracts.v1.song_metadata import SongMetadata
from ironclad_assets.errors import IroncladError, PermanentFailure
from ironclad_assets.pipeline.hands import Hands, PretendedHands, real_hands
from ironclad_assets.pipeline.listing import Listing
from ironclad_assets.pipeline.naming import fold, track_path
from ironclad_assets.pipeline.organise import cover_deliveries, lyrics_deliveries, name_file
from ironclad_assets.pipeline.ownership import Claims, hold_entry, load_claims
from ironclad_assets.pipeline.shelf import Delivery, Shelf
from ironclad_assets.pipeline.templates import Layout
from ironclad_assets.storage import atomic
from ironclad_assets.storage.artifacts import read_manifest
from ironclad_assets.storage.hashing import hash_json, record_file
from ironclad_assets.storage.store import Store

STAGE = "library_entry"
RECORD_FILE = "metadata.json"


@dataclass(frozen=True, slots=True)
class Move:
    """A file that gets another path below its root. `after` is None where it goes for good."""

    role: str
    name: str
    root: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Rearranged:
    """What became, or would become, of one song. `reason` says why it was left alone, `missing` what is not there."""

    song: str
    user_id: str = ""
    title: str = ""
    files: tuple[EntryFile, ...] = ()
    moves: tuple[Move, ...] = ()
    missing: tuple[str, ...] = ()
    reason: str = ""


@dataclass(slots=True)
class Rearrangement:
    """One pass over many entries.

    `pretend` touches nothing. `busy` says why a song must be left alone now, or nothing. `stop` is asked between
    two songs; `tell` hears how many of how many are done. `user_id` leaves out the songs of others.
    """

    store: Store
    layout: Layout
    pretend: bool
    busy: Callable[[str], str | None] = lambda song: None
    stop: Callable[[], bool] = lambda: False
    tell: Callable[[int, int], None] = lambda done, total: None
    user_id: str | None = None
    listing: Listing = field(default_factory=Listing)
    left: dict[Path, str] = field(default_factory=dict)

    def run(self, songs: Sequence[str]) -> Iterator[Rearranged]:
        """Yield each song as it is done; one that would only become a copy ``(2)`` is looked at again at the end.

        Raises:
            StorageUnavailable: the store is away, full or read-only.
        """
        self.store.require_ready()
        later: list[str] = []
        done = 0
        for song in songs:
            if self.stop():
                return
            found = self._rearrange(song, patient=True)
            if found is None:
                later.append(song)
                continue
            done += 1
            self.tell(done, len(songs))
            if self.user_id in (None, found.user_id):
                yield found
        for song in later:
            if self.stop():
                return
            done += 1
            self.tell(done, len(songs))
            yield self._rearrange(song, patient=False) or Rearranged(song)

    def _rearrange(self, song: str, *, patient: bool) -> Rearranged | None:
        """Return what became of the song; None where another may still make way for it."""
        try:
            one = _load(self.store, song=song)
        except PermanentFailure as error:
            return Rearranged(song, reason=error.describe())
        if self.user_id not in (None, one.manifest.user_id):
            return one.told()
        deliveries = _deliveries(one, layout=self.layout)
        wanted = self._shelf(one, PretendedHands(store=self.store, listing=self.listing)).choose(deliveries)
        if wanted == [item.earlier for item in deliveries]:
            return one.told()
        if patient and any(
            fold(path) != fold(item.path(1)) and path != item.earlier
            for path, item in zip(wanted, deliveries, strict=True)
        ):
            return None
        why = self.busy(song)
        if why:
            return replace(one.told(), reason=why)
        try:
            return self._move(song)
        except IroncladError as error:
            if not error.permanent:
                raise
            return replace(one.told(), reason=error.describe())

    def _move(self, song: str) -> Rearranged:
        with self._alone(song):
            one = _load(self.store, song=song)
            why = None if self.pretend else self.busy(song)
            if why:
                return replace(one.told(), reason=why)
            with self._hands(song) as hands:
                entry, missing = self._place(one, self._shelf(one, hands))
            if not self.pretend:
                _keep(entry, manifest=one.manifest, store=self.store)
            moves = _moves(one.entry.files, entry.files)
            return replace(one.told(), files=entry.files, moves=moves, missing=missing)

    def _alone(self, song: str) -> AbstractContextManager[None]:
        return nullcontext() if self.pretend else hold_entry(self.store, song=song)

    def _hands(self, song: str) -> AbstractContextManager[Hands]:
        if self.pretend:
            return nullcontext(PretendedHands(store=self.store, listing=self.listing))
        return real_hands(store=self.store, song=song, listing=self.listing)

    def _shelf(self, one: "_Entry", hands: Hands) -> Shelf:
        return Shelf(store=self.store, song=one.song, claims=one.claims, hands=hands, trusting=True, left=self.left)

    def _place(self, one: "_Entry", shelf: Shelf) -> tuple[LibraryEntry, tuple[str, ...]]:
        placed = shelf.place_all(_deliveries(one, layout=self.layout))
        texts = [item for item in one.entry.files if item.role == "lyrics"]
        for text in texts[:1]:
            extension = text.file.path.rpartition(".")[2]
            placed += shelf.place_fixed(lyrics_deliveries(placed, record=text.file, extension=extension, source=None))
        placed += shelf.place_fixed(_covers(placed, one=one, shelf=shelf))
        shelf.remove_all_but(placed)
        entry = one.entry.model_copy(update={"files": (*placed, *shelf.missing)})
        return entry, tuple(f"{item.root}/{item.file.path}" for item in shelf.missing)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A song's place in the library, with what decides about it."""

    song: str
    manifest: Manifest
    entry: LibraryEntry
    metadata: SongMetadata
    claims: Claims
    art: Path | None

    def told(self) -> Rearranged:
        return Rearranged(self.song, self.manifest.user_id, self.metadata.title, files=self.entry.files)


def songs_in_library(store: Store) -> list[str]:
    """Return the songs that have an entry, oldest first."""
    return sorted(folder.parent.name for folder in (store.root / "stages" / STAGE).glob("*/manifest.json"))


def _load(store: Store, *, song: str) -> _Entry:
    """Return the song's entry with its present tags.

    Raises:
        PermanentFailure: it has none, or its tags are not in the store any more.
    """
    manifest = read_manifest(store.stage(STAGE, song))
    entry = LibraryEntry.model_validate(manifest.payload)
    tags = read_manifest(store.stage("song_metadata", song))
    metadata = SongMetadata.model_validate(tags.payload)
    claims = load_claims(store, song=song, previous=entry)
    folder = store.stage("song_metadata", song).path / tags.folder
    art = None if metadata.artwork is None else folder / metadata.artwork.file.path
    return _Entry(song=song, manifest=manifest, entry=entry, metadata=metadata, claims=claims, art=art)


def _deliveries(one: _Entry, *, layout: Layout) -> list[Delivery]:
    """Return every song file of the entry with the path that it should have."""
    return [
        _delivery(item, metadata=one.metadata, layout=layout)
        for item in one.entry.files
        if item.role not in ("lyrics", "cover")
    ]


def _delivery(item: EntryFile, *, metadata: SongMetadata, layout: Layout) -> Delivery:
    extension = DJ_STEMS_EXTENSION if item.role == DJ_STEMS else item.file.path.rpartition(".")[2]
    stems = tuple(item.name.split("+"))  # as a target's name says; an instrumental is named by itself
    name = name_file(metadata, role=item.role, name=item.name, stems=stems, extension=extension)
    template = layout.template(item.root)
    return Delivery(
        role=item.role,
        name=item.name,
        root=item.root,
        record=item.file,
        path=lambda copy: track_path(name, copy=copy, template=template),
        source=None,
        earlier=item.file.path,
    )


def _covers(placed: Sequence[EntryFile], *, one: _Entry, shelf: Shelf) -> list[Delivery]:
    """Return a cover for each folder that a file with a cover of this song's beside it moves to."""
    old = {(item.root, item.file.path.rpartition("/")[0]): item for item in one.entry.files if item.role == "cover"}
    came_from = {(item.role, item.name, item.root): item.file.path.rpartition("/")[0] for item in one.entry.files}
    found: list[Delivery] = []
    for item in placed:
        cover = old.get((item.root, came_from[item.role, item.name, item.root]))
        if cover is None or item.role in ("lyrics", "cover"):
            continue
        file = shelf.store.library(cover.root) / cover.file.path
        source = one.art if one.art is not None and one.art.is_file() else file
        wanted = cover_deliveries([item], record=cover.file, source=source, shelf=shelf)
        known = {(other.root, other.path(1)) for other in found}
        found += [
            replace(one_cover, earlier=cover.file.path)
            for one_cover in wanted
            if (one_cover.root, one_cover.path(1)) not in known
        ]
    return found


def _keep(entry: LibraryEntry, *, manifest: Manifest, store: Store) -> None:
    """Write the entry into its manifest and the song's record, each in one step.

    A process that dies between the two leaves a record that differs from its checksum; the next run makes it anew.
    """
    stage = store.stage(STAGE, manifest.song)
    record = stage.path / manifest.folder / RECORD_FILE
    files = manifest.files
    if record.is_file():
        document = SongRecord.model_validate_json(record.read_bytes()).model_copy(update={"files": entry.files})
        atomic.write_json(record, document.model_dump(mode="json"))
        known = record_file(record, base=record.parent)
        files = tuple(known if file.path == known.path else file for file in files)
    payload: dict[str, Any] = entry.model_dump(mode="json")  # the entry's own fields
    updated = manifest.model_copy(update={"payload": payload, "payload_sha256": hash_json(payload), "files": files})
    atomic.write_json(stage.manifest, updated.model_dump(mode="json"))


def _moves(before: Sequence[EntryFile], after: Sequence[EntryFile]) -> tuple[Move, ...]:
    """Return what differs, covers of one root in their order."""
    rest: dict[tuple[str, str, str], list[str]] = {}
    for item in before:
        rest.setdefault((item.role, item.name, item.root), []).append(item.file.path)
    moves = []
    for item in after:
        key = (item.role, item.name, item.root)
        earlier = rest.get(key, [])
        if item.file.path in earlier:
            earlier.remove(item.file.path)
            continue
        moves.append(Move(*key, before=earlier.pop(0) if earlier else None, after=item.file.path))
    gone = [Move(*key, before=path, after=None) for key, paths in rest.items() for path in paths]
    return (*moves, *gone)
