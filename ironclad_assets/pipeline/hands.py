"""The hands that file a song's files: real ones, and pretended ones for a preview.

Both say the same of what they did, so that a preview goes through the very decisions of the real thing. What goes
where is decided in `pipeline/shelf.py`; how a single file is moved safely, in `pipeline/shelving.py`.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from ironclad_assets.contracts.v1.base import FileRecord
from ironclad_assets.pipeline.listing import Listing
from ironclad_assets.pipeline.ownership import Claims
from ironclad_assets.pipeline.shelving import (
    copy_in,
    give_name,
    incoming_folder,
    remove_empty,
    remove_file,
    sync_folders,
)
from ironclad_assets.storage.store import Store


class Hands(Protocol):
    """What a shelf needs done."""

    listing: Listing

    def announce(self, claims: Claims, *, records: Mapping[str, FileRecord]) -> Claims:
        """Keep what the song is about to have, should this process die; return the claims with it."""

    def copy(self, source: Path, *, record: FileRecord, root: str) -> Path:
        """Return a copy of `source` that waits in the library root for its name."""

    def name(self, file: Path, *, destination: Path, root: str, replace: bool) -> None:
        """Give the copy, or the file of another name, its name.

        Raises:
            FileExistsError: `replace` is False and somebody has that name.
        """

    def remove(self, file: Path, *, root: str) -> None:
        """Remove a file, and the folders that are empty then."""

    def leave(self, folder: Path, *, root: str) -> None:
        """Remove a folder, and those above it, where they are empty."""


class RealHands:
    """Moves files, each in one step that other programs see whole."""

    def __init__(
        self,
        *,
        store: Store,
        song: str,
        listing: Listing,
        stack: ExitStack,
        announced: Mapping[str, FileRecord],
    ) -> None:
        """`stack` ends with the work: what waits for its name then is dropped. `announced` is kept already."""
        self.listing = listing
        self._store = store
        self._song = song
        self._stack = stack
        self._incoming: dict[str, Path] = {}
        self._announced = announced
        self.touched: set[Path] = set()

    def announce(self, claims: Claims, *, records: Mapping[str, FileRecord]) -> Claims:
        if all(self._announced.get(key) == record for key, record in records.items()):
            return replace(claims, records={**claims.records, **records})
        return claims.announce(records)

    def copy(self, source: Path, *, record: FileRecord, root: str) -> Path:
        if root not in self._incoming:
            folder = incoming_folder(self._store.library(root), song=self._song)
            self._incoming[root] = self._stack.enter_context(folder)
        return copy_in(source, record=record, folder=self._incoming[root], song=self._song)

    def name(self, file: Path, *, destination: Path, root: str, replace: bool) -> None:
        try:
            give_name(file, destination=destination, replace=replace)
        except FileExistsError:
            self.listing.forget(destination.parent)
            raise
        self.touched.add(destination.parent)
        self.listing.add(destination)
        if file.parent != self._incoming.get(root):
            self.touched.add(file.parent)
            self.listing.remove(file, root=self._store.library(root))

    def remove(self, file: Path, *, root: str) -> None:
        remove_file(file, root=self._store.library(root))
        self.listing.remove(file, root=self._store.library(root))

    def leave(self, folder: Path, *, root: str) -> None:
        remove_empty(folder, root=self._store.library(root))

    def finish(self) -> None:
        """Make everything done so far last."""
        sync_folders(self.touched)
        self.touched.clear()


class PretendedHands:
    """Touches nothing; only its listing, and what it was told to keep, tell what would be."""

    def __init__(self, *, store: Store, listing: Listing) -> None:
        self.listing = listing
        self.announced: dict[str, FileRecord] = {}
        self._store = store

    def announce(self, claims: Claims, *, records: Mapping[str, FileRecord]) -> Claims:
        self.announced.update(records)
        return replace(claims, records={**claims.records, **records})

    def copy(self, source: Path, *, record: FileRecord, root: str) -> Path:
        return source

    def name(self, file: Path, *, destination: Path, root: str, replace: bool) -> None:
        library = self._store.library(root)
        self.listing.add(destination)
        if file.is_relative_to(library) and file != destination:
            self.listing.remove(file, root=library)

    def remove(self, file: Path, *, root: str) -> None:
        self.listing.remove(file, root=self._store.library(root))

    def leave(self, folder: Path, *, root: str) -> None:
        """Do nothing: a listing drops folders that are empty by itself."""


@contextmanager
def real_hands(
    *, store: Store, song: str, listing: Listing, announced: Mapping[str, FileRecord] = MappingProxyType({})
) -> Iterator[RealHands]:
    """Give hands for the filing of one song; nothing that waits for a name outlives it."""
    with ExitStack() as stack:
        yield RealHands(store=store, song=song, listing=listing, stack=stack, announced=announced)
