"""An entry as the store keeps it: its manifest, its tags, what it would be delivered as, and keeping it changed.

Who moves its files is `pipeline/rearrange.py`; an entry is made the first time by `pipeline/organise.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from ironclad_assets.contracts.v1.library_entry import EntryFile, LibraryEntry, SongRecord
from ironclad_assets.contracts.v1.manifest import Manifest
from ironclad_assets.contracts.v1.recombined_track import DJ_STEMS, DJ_STEMS_EXTENSION
from ironclad_assets.contracts.v1.song_metadata import SongMetadata
from ironclad_assets.pipeline.naming import track_path
from ironclad_assets.pipeline.organise import cover_deliveries, lyrics_deliveries, name_file
from ironclad_assets.pipeline.ownership import Claims, load_claims
from ironclad_assets.pipeline.shelf import Delivery, Shelf
from ironclad_assets.pipeline.sidecars import Lyrics, find_lyrics
from ironclad_assets.pipeline.templates import Layout
from ironclad_assets.storage import atomic
from ironclad_assets.storage.artifacts import read_manifest
from ironclad_assets.storage.hashing import hash_json, record_file
from ironclad_assets.storage.store import Store

STAGE = "library_entry"
RECORD_FILE = "metadata.json"


@dataclass(frozen=True, slots=True)
class FiledEntry:
    """A song's place in the library, with what decides about it.

    `dropped` are lyrics that were dropped beside its upload, maybe after it was filed.
    """

    song: str
    manifest: Manifest
    entry: LibraryEntry
    metadata: SongMetadata
    claims: Claims
    art: Path | None
    dropped: Lyrics | None

    @property
    def lacks_lyrics(self) -> bool:
        """Whether lyrics were dropped that do not lie beside its songs."""
        filed = {item.file.sha256 for item in self.entry.files if item.role == "lyrics"}
        return self.dropped is not None and self.dropped.record.sha256 not in filed


def songs_in_library(store: Store) -> list[str]:
    """Return the songs that have an entry, oldest first."""
    return sorted(folder.parent.name for folder in (store.root / "stages" / STAGE).glob("*/manifest.json"))


def load_filed(store: Store, *, song: str) -> FiledEntry:
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
    return FiledEntry(
        song=song,
        manifest=manifest,
        entry=entry,
        metadata=metadata,
        claims=claims,
        art=art,
        dropped=find_lyrics(store, song=song),
    )


def song_deliveries(one: FiledEntry, *, layout: Layout) -> list[Delivery]:
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
        path=cache(lambda copy: track_path(name, copy=copy, template=template)),
        source=None,
        earlier=item.file.path,
    )


def wanted_lyrics(placed: Sequence[EntryFile], *, one: FiledEntry) -> list[Delivery]:
    """Return the lyrics beside each song: those that were dropped, else those that are there already."""
    if one.dropped is not None:
        text = one.dropped
        return lyrics_deliveries(placed, record=text.record, extension=text.extension, source=text.source)
    filed = next((item for item in one.entry.files if item.role == "lyrics"), None)
    if filed is None:
        return []
    extension = filed.file.path.rpartition(".")[2]
    return lyrics_deliveries(placed, record=filed.file, extension=extension, source=None)


def moved_covers(placed: Sequence[EntryFile], *, one: FiledEntry, shelf: Shelf) -> list[Delivery]:
    """Return a cover for each folder that a file with a cover of this song's beside it moves to."""
    old = {(item.root, item.file.path.rpartition("/")[0]): item for item in one.entry.files if item.role == "cover"}
    came_from = {(item.role, item.name, item.root): item.file.path.rpartition("/")[0] for item in one.entry.files}
    found: list[Delivery] = []
    for item in placed:
        cover = old.get((item.root, came_from.get((item.role, item.name, item.root), "")))
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
    return sorted(found, key=lambda item: (item.root, item.earlier or ""))


def keep_entry(entry: LibraryEntry, *, manifest: Manifest, store: Store) -> None:
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
    stage.keep(updated)
