"""Taking files out of the library for good, and out of their song's entry with them.

The rules of filing hold: a file that is not the song's own any more stays, a cover stays while other songs lie beside
it, a folder goes when it is empty. The entry gets another key, so that a retry files the song anew.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from ironclad_assets.contracts.v1.library_entry import EntryFile, LibraryEntry, SongRecord
from ironclad_assets.contracts.v1.manifest import Manifest
from ironclad_assets.ledger.usage import record_stored
from ironclad_assets.pipeline.filed import RECORD_FILE, STAGE
from ironclad_assets.pipeline.hands import real_hands
from ironclad_assets.pipeline.listing import Listing
from ironclad_assets.pipeline.ownership import load_claims
from ironclad_assets.pipeline.shelf import Shelf
from ironclad_assets.storage import atomic
from ironclad_assets.storage.artifacts import read_manifest
from ironclad_assets.storage.hashing import hash_json, record_file
from ironclad_assets.storage.store import StageFolder
from ironclad_assets.upkeep.prune.plan import Ground, Removal


@dataclass(frozen=True, slots=True)
class Unfiled:
    """Files that are gone from the library, as paths ``root/path``, and their song's entry, which is yet to be told."""

    gone: frozenset[str]
    stage: StageFolder
    manifest: Manifest

    def keep_entry(self) -> None:
        """Let the entry no longer name them, here and where the store lasts, which may take a while.

        Raises:
            StorageUnavailable: it cannot be stored now; the next sweep does it.
        """
        kept = self.stage.keep(self.manifest)
        self.stage.discard_others(kept.folder)


def unfile(files: Sequence[Removal], *, ground: Ground, connection: Connection) -> Unfiled:
    """Remove files of one song, whose entry is held, from the library; nobody is asked who may be slow.

    Killed before the entry is kept, that still names what is gone: the next sweep, or a retry, sets that right.
    """
    store, song = ground.store, files[0].song
    wanted = {one.path for one in files}
    stage = store.stage(STAGE, song)
    manifest = read_manifest(stage)
    entry = LibraryEntry.model_validate(manifest.payload)
    kept = _without_lone_covers([item for item in entry.files if _key(item) not in wanted])
    with real_hands(store=store, song=song, listing=Listing()) as hands:
        shelf = Shelf(store=store, song=song, claims=load_claims(store, song=song, previous=entry), hands=hands)
        shelf.remove_all_but(kept)
        hands.finish()
    gone = frozenset(path for path in wanted if not (store.root / path).exists())
    left = tuple(item for item in entry.files if item in kept or _key(item) in wanted - gone)
    updated = entry.model_copy(update={"files": left, "replaced": tuple(sorted(gone))})
    key = hash_json({"unfiled": sorted(gone), "key": manifest.key})
    changed = _prepare(updated, manifest=manifest, key=key, stage=stage)
    record_stored(connection, song, STAGE, size_bytes=counted_bytes(changed))
    return Unfiled(gone, stage, changed)


def _prepare(entry: LibraryEntry, *, manifest: Manifest, key: str, stage: StageFolder) -> Manifest:
    """Write the changed entry as an artifact of its own; the one before is whole until its manifest is replaced."""
    before = stage.path / manifest.folder
    shutil.rmtree(stage.work(key))  # what a sweep that was killed left in it
    work = stage.work(key)
    for file in manifest.files:
        atomic.make_folder((work / file.path).parent)
        atomic.write_bytes(work / file.path, _content(before / file.path, entry))
    folder = stage.commit(key)
    payload = entry.model_dump(mode="json")
    return manifest.model_copy(
        update={
            "key": key,
            "folder": folder.name,
            "payload": payload,
            "payload_sha256": hash_json(payload),
            "files": tuple(record_file(folder / file.path, base=folder) for file in manifest.files),
        }
    )


def _content(file: Path, entry: LibraryEntry) -> bytes:
    """Return what a file of the artifact holds now that the entry has fewer files."""
    content = file.read_bytes()
    if file.name != RECORD_FILE:
        return content
    record = SongRecord.model_validate_json(content).model_copy(update={"files": entry.files})
    return atomic.encode_json(record.model_dump(mode="json"))


def _key(item: EntryFile) -> str:
    return f"{item.root}/{item.file.path}"


def _without_lone_covers(files: list[EntryFile]) -> list[EntryFile]:
    """Return the files without covers of albums in which the song has nothing else: those are the other songs'."""
    albums = {_key(item).rpartition("/")[0] for item in files if item.role != "cover"}
    return [item for item in files if item.role != "cover" or _key(item).rpartition("/")[0] in albums]


def counted_bytes(manifest: Manifest) -> int:
    """Return the bytes that an artifact is counted with: those of its files, in the library too."""
    size_bytes = sum(file.size_bytes for file in manifest.files)
    if manifest.contract == LibraryEntry.__name__:
        size_bytes += sum(item.file.size_bytes for item in LibraryEntry.model_validate(manifest.payload).files)
    return size_bytes
