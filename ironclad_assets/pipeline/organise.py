"""The room `library_entry`: put a song's delivered files where media servers look for them.

A name that another song has is never taken, not even by two processes at once. A second run replaces only files
of its own, moves the entry where the tags changed, and leaves no empty folder behind. Names come from
`pipeline/naming.py`; how a song gets its place is `pipeline/shelf.py`'s; entries that are there already are moved by
`pipeline/rearrange.py`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

from ironclad_assets.audio.sniff import extensions_of
from ironclad_assets.contracts.v1.base import CheckOutcome, FileRecord
from ironclad_assets.contracts.v1.library_entry import EntryFile, LibraryEntry
from ironclad_assets.contracts.v1.recombined_track import RecombinedTrack, Track
from ironclad_assets.contracts.v1.song_metadata import SongMetadata
from ironclad_assets.pipeline.hands import real_hands
from ironclad_assets.pipeline.listing import Listing
from ironclad_assets.pipeline.naming import TrackName, track_path
from ironclad_assets.pipeline.ownership import load_claims
from ironclad_assets.pipeline.shelf import COVER, ROOTS, Delivery, Role, Root, Shelf
from ironclad_assets.pipeline.shelving import clear_incoming
from ironclad_assets.pipeline.sidecars import Lyrics
from ironclad_assets.pipeline.templates import DEFAULT, Layout
from ironclad_assets.pipeline.variants import describe_variant, name_track
from ironclad_assets.storage.hashing import hash_file
from ironclad_assets.storage.store import Store

ORIGINAL: Final = "original"

_EXTENSION = re.compile(r"[a-z0-9]{1,8}")
_NOT_MUSIC = {"mp4": "m4a"}
"""Jellyfin takes an .mp4 for a film."""


@dataclass(frozen=True, slots=True)
class Original:
    """The untouched original: where it lies, what it holds, and the extension it gets."""

    source: Path
    record: FileRecord
    extension: str


def organise(
    track: RecombinedTrack,
    *,
    track_folder: Path,
    metadata: SongMetadata,
    metadata_folder: Path,
    previous: LibraryEntry | None,
    store: Store,
    song: str,
    layout: Layout = DEFAULT,
    original: Original | None = None,
    lyrics: Lyrics | None = None,
) -> LibraryEntry:
    """Place every delivered file, the covers and the lyrics; return where they stand.

    Args:
        track: the files to deliver, below `track_folder`.
        track_folder: folder of the delivered files.
        metadata: the song's tags; its art lies below `metadata_folder`.
        metadata_folder: folder of the art.
        previous: the song's last entry, whose files may be replaced or moved; None at the first time.
        store: the store whose libraries are meant.
        song: key of the song, by which files are known as its own.
        layout: how paths look.
        original: the untouched original, where it is to be filed too.
        lyrics: the text to lie beside each song but the stems.

    Raises:
        StorageUnavailable: the library is away, full or read-only; what was visible before still is.
        PermanentFailure: a delivered file is missing or differs from its record.
    """
    store.require_ready()
    deliveries = [_track_delivery(one, folder=track_folder, metadata=metadata, layout=layout) for one in track.tracks]
    if original is not None:
        deliveries.append(_original_delivery(original, metadata=metadata, layout=layout))
    for root in ROOTS:
        clear_incoming(store.library(root), song=song)
    with real_hands(store=store, song=song, listing=Listing()) as hands:
        claims = load_claims(store, song=song, previous=previous)
        shelf = Shelf(store=store, song=song, claims=claims, hands=hands)
        placed = shelf.place_all(deliveries)
        warnings: tuple[str, ...] = ()
        if lyrics is not None:
            wanted = lyrics_deliveries(placed, record=lyrics.record, extension=lyrics.extension, source=lyrics.source)
            found = shelf.place_fixed(wanted)
            warnings = tuple(_without(wanted, found))
            placed += found
        if metadata.artwork is not None:
            art = metadata.artwork.file
            placed += shelf.place_fixed(
                cover_deliveries(placed, record=art, source=metadata_folder / art.path, shelf=shelf)
            )
        replaced = shelf.remove_all_but(placed)
        hands.finish()
        return LibraryEntry(files=tuple(placed), replaced=replaced, warnings=warnings)


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


def root_of(role: Role) -> Root:
    """Return the library that files of the role belong to."""
    return "output" if role in ("target", ORIGINAL) else "output-stems"


def name_file(metadata: SongMetadata, *, role: Role, name: str, stems: tuple[str, ...], extension: str) -> TrackName:
    """Return what the path of a song's target, stem or original is made from."""
    if role == ORIGINAL:
        plain = name_track(metadata, variant=describe_variant(name, kind="stem", stems=()), extension=extension)
        return replace(plain, title=metadata.title, album=metadata.album or metadata.title, date=metadata.date)
    if role == "lyrics" or role == "cover":
        raise ValueError(f"{role} is named after what it lies beside")
    variant = describe_variant(name, kind=role, stems=stems)
    named = name_track(metadata, variant=variant, extension=extension)
    return replace(named, label=variant.label, date=metadata.date)


def original_extension(name: str, *, container: str) -> str:
    """Return the extension of an original in the library: that of its name where it fits, else its container's.

    Args:
        name: under which it was uploaded.
        container: what it was found to be.
    """
    found = PurePosixPath(name).suffix.removeprefix(".").lower()
    usual = extensions_of(container.lower())
    if usual and found not in usual:
        found = usual[0]
    extension = found if _EXTENSION.fullmatch(found) else container.lower()
    extension = extension if _EXTENSION.fullmatch(extension) else "audio"
    return _NOT_MUSIC.get(extension, extension)


def lyrics_deliveries(
    placed: Sequence[EntryFile], *, record: FileRecord, extension: str, source: Path | None
) -> list[Delivery]:
    """Return the lyrics of each song in the library, under that song's own name; stems have none."""
    return [
        Delivery(
            role="lyrics",
            name=item.name,
            root=item.root,
            record=record,
            path=partial(_always, f"{item.file.path.rpartition('.')[0]}.{extension}"),
            source=source,
        )
        for item in placed
        if item.role in ("target", ORIGINAL)
    ]


def cover_deliveries(
    placed: Iterable[EntryFile], *, record: FileRecord, source: Path | None, shelf: Shelf
) -> list[Delivery]:
    """Return a cover for each album folder that has none, or has this song's."""
    albums = sorted({(item.root, item.file.path.rpartition("/")[0]) for item in placed})
    return [
        Delivery(
            role="cover",
            name="cover",
            root=root,
            record=record,
            path=partial(_always, f"{album}/{COVER}"),
            source=source,
        )
        for root, album in albums
        if not shelf.has_cover(shelf.store.library(root) / album, root=root)
    ]


def _track_delivery(track: Track, *, folder: Path, metadata: SongMetadata, layout: Layout) -> Delivery:
    name = name_file(metadata, role=track.kind, name=track.name, stems=track.stems, extension=track.extension)
    root = root_of(track.kind)
    return Delivery(
        role=track.kind,
        name=track.name,
        root=root,
        record=track.file,
        path=lambda copy: track_path(name, copy=copy, template=layout.template(root)),
        source=folder / track.file.path,
    )


def _original_delivery(original: Original, *, metadata: SongMetadata, layout: Layout) -> Delivery:
    name = name_file(metadata, role=ORIGINAL, name=ORIGINAL, stems=(), extension=original.extension)
    return Delivery(
        role=ORIGINAL,
        name=ORIGINAL,
        root=root_of(ORIGINAL),
        record=original.record,
        path=lambda copy: track_path(name, copy=copy, template=layout.output),
        source=original.source,
    )


def _without(wanted: Iterable[Delivery], placed: Iterable[EntryFile]) -> list[str]:
    found = {(item.root, item.file.path) for item in placed}
    missed = [item.path(1) for item in wanted if (item.root, item.path(1)) not in found]
    return [f"no lyrics were put at {path!r}: somebody else's file is there" for path in missed]


def _always(path: str, _copy: int) -> str:
    return path
