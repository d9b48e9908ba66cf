"""Verifying the library: every file that entries name, and every file there that is marked as a song's.

Every byte of every named file is read. Files that carry no mark and that no entry names are other people's.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache

from pydantic import ValidationError

from ironclad_assets.contracts.v1.library_entry import EntryFile, LibraryEntry
from ironclad_assets.errors import IroncladError
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.pipeline.shelf import ROOTS
from ironclad_assets.storage.artifacts import read_manifest
from ironclad_assets.storage.hashing import carry_on
from ironclad_assets.storage.store import StageFolder, Store
from ironclad_assets.upkeep.findings import Finding, FindingCode, found
from ironclad_assets.upkeep.prune.orphans import is_left_cover, marked_song, visible_files
from ironclad_assets.upkeep.verify.song import check_file

_CODES = {"file_missing": FindingCode.LIBRARY_FILE_MISSING, "file_damaged": FindingCode.LIBRARY_FILE_CHANGED}
_MOST_ENTRIES = 256


def check_entry_files(song: str, *, store: Store, heed: Callable[[], None] = carry_on) -> Iterator[Finding]:
    """Yield the files of a song's entry that are missing, changed, or outside of their library."""
    for item in _entry_files(store, song):
        library = store.library(item.root)
        file = library / item.file.path
        if not file.resolve().is_relative_to(library.resolve()):
            detail = "it leads out of the library"
            yield found(FindingCode.LIBRARY_FILE_CHANGED, f"{item.root}/{item.file.path}", detail, song=song)
            continue
        for one in check_file(file, item.file, item.root, song, heed=heed):
            yield found(_CODES[one.code], one.path, one.detail, song=song)


def check_marked_files(store: Store, ledger: Ledger, *, chosen: Callable[[str], bool]) -> Iterator[Finding]:
    """Yield files that are marked as a song's and that its entry does not name; only marks are read here."""

    @lru_cache(maxsize=_MOST_ENTRIES)
    def named(song: str) -> tuple[frozenset[str], str]:
        """Return the paths of a song's entry, and why they may not be complete now."""
        one = ledger.sweeps.find([song]).get(song)
        busy = "" if one is None or not one.state.active else "busy"
        return frozenset(f"{item.root}/{item.file.path}" for item in _entry_files(store, song)), busy

    for root in ROOTS:
        for path in visible_files(store.library(root)):
            song = marked_song(path)
            if song is None or not chosen(song):
                continue
            paths, busy = named(song)
            relative = path.relative_to(store.root).as_posix()
            if relative not in paths and not busy and not is_left_cover(path):
                code = FindingCode.LIBRARY_FILE_UNEXPECTED if paths else FindingCode.ORPHANED
                yield found(code, relative, f"it is marked as of song {song}, whose entry does not name it", song=song)


def _entry_files(store: Store, song: str) -> tuple[EntryFile, ...]:
    """Return the files of a song's entry; none where it has none that can be read."""
    try:
        manifest = read_manifest(StageFolder(store.root / "stages" / "library_entry" / song))
        return LibraryEntry.model_validate(manifest.payload).files
    except (IroncladError, ValidationError, OSError):
        return ()
