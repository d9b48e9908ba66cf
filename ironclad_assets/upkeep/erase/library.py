"""Takes a song out of the media library: its files, the folders that are empty then, and its mark on shared covers.

What is a song's own is `pipeline/ownership.py`'s to say. Beyond that a deletion takes what a tag editor made of one of
the song's files, and what somebody moved elsewhere in the library: both are still that song.
"""

import errno
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from ironclad_assets.contracts.v1.library_entry import LibraryEntry
from ironclad_assets.pipeline.filed import STAGE
from ironclad_assets.pipeline.hands import real_hands
from ironclad_assets.pipeline.listing import Listing
from ironclad_assets.pipeline.ownership import Claims, hold_entry, load_claims, read_mark, set_mark
from ironclad_assets.pipeline.shelf import COVER, ROOTS, Shelf
from ironclad_assets.pipeline.shelving import clear_incoming, remove_file
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.erase.payloads import read_payload
from ironclad_assets.upkeep.erase.tally import Tally

KIND = "library"


def library_paths(store: Store, *, song: str) -> list[str]:
    """Return where the song's files are, or were announced to be, below the roots of the library."""
    claims = load_claims(store, song=song, previous=_read_entry(store, song=song), leniently=True)
    known = {*claims.records, *(f"{file.root}/{file.file.path}" for file in claims.previous)}
    return sorted(key.partition("/")[2] for key in known)


def erase_entry(store: Store, *, song: str, tally: Tally) -> None:
    """Remove the song's files from the library.

    Raises:
        StorageUnavailable: the library is away or read-only; doing it again goes on.
    """
    for root in ROOTS:
        clear_incoming(store.library(root), song=song)
    with hold_entry(store, song=song):
        claims = load_claims(store, song=song, previous=_read_entry(store, song=song), leniently=True)
        sizes = {key: (store.root / key).stat().st_size for key in claims.records}
        with real_hands(store=store, song=song, listing=Listing()) as hands:
            Shelf(store=store, song=song, claims=claims, hands=hands).remove_all_but([])
            hands.finish()
        for key in claims.records:
            _remove_edited(store, claims=claims, key=key)
            if not (store.root / key).exists():
                tally.add(KIND, size_bytes=sizes[key])


def erase_marked(store: Store, *, songs: Collection[str], tally: Tally) -> None:
    """Remove every file of the library that is marked as one of `songs`'; a cover of others stays, as theirs."""
    for root in ROOTS:
        library = store.library(root)
        for file in _files(library):
            if read_mark(file) not in songs:
                continue
            others = _others(file, songs=songs) if file.name == COVER else []
            if others:
                _mark_anew(file, song=next((mark for mark in others if mark), ""))
            else:
                size = file.lstat().st_size
                remove_file(file, root=library)
                tally.add(KIND, size_bytes=size)


def _remove_edited(store: Store, *, claims: Claims, key: str) -> None:
    """Remove a file of the song's entry that lost its mark and its bytes to an editor."""
    file, library = store.root / key, store.library(key.partition("/")[0])
    if not file.resolve().is_relative_to(library.resolve()):
        return  # a manifest that was tampered with
    if file.name == COVER or file.is_symlink() or not file.is_file() or read_mark(file) is not None:
        return
    if key in {f"{one.root}/{one.file.path}" for one in claims.previous}:
        remove_file(file, root=library)


def _others(cover: Path, *, songs: Collection[str]) -> list[str]:
    """Return whose files lie beside a cover, nothing for nobody's; those of `songs` do not count."""
    marks = [read_mark(path) for path in sorted(cover.parent.iterdir()) if path != cover]
    return [mark or "" for mark in marks if mark not in songs]


def _mark_anew(cover: Path, *, song: str) -> None:
    descriptor = os.open(cover, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        set_mark(descriptor, song=song)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _files(library: Path) -> Iterator[Path]:
    for current, _, names in os.walk(library, onerror=_refuse):
        yield from (path for name in names if not (path := Path(current) / name).is_symlink())


def _refuse(error: OSError) -> None:
    """Raise, but for a folder that we may not look into or have no name for: it is somebody else's."""
    if error.errno not in (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG):
        raise error


def _read_entry(store: Store, *, song: str) -> LibraryEntry | None:
    try:
        return LibraryEntry.model_validate(read_payload(store, song=song, stage=STAGE))
    except ValueError:
        return None
