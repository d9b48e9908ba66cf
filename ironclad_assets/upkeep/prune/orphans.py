"""What belongs to no song any more, and what has lain in ``orphaned/`` long enough.

Folders named after a song that the ledger does not know, originals that no song has, and files in the library whose
mark names a song without an entry. A file without a mark is somebody else's and never touched, unless the leftovers
of the song itself say that it was put there. Orphans are moved, not removed.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from pydantic import ValidationError

from ironclad_assets.contracts.v1.base import SONG_PATTERN
from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.contracts.v1.library_entry import LibraryEntry
from ironclad_assets.errors import IroncladError
from ironclad_assets.ledger.sweeps import PAGE
from ironclad_assets.pipeline.ownership import load_claims, read_mark
from ironclad_assets.pipeline.shelf import COVER, ROOTS
from ironclad_assets.storage.artifacts import read_manifest
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.prune.plan import (
    DAY_S,
    NOT_HERE,
    PARTIAL_S,
    Ground,
    Guard,
    How,
    Kind,
    Removal,
    names_in,
    names_seen_in,
    weigh,
)
from ironclad_assets.upkeep.prune.songs import ALL_STAGES, unix_time

HAND_OFF = re.compile(r"[a-z0-9_-]+-input")
NOTE = "note.json"

PREFIXES = tuple(f"{number:02x}" for number in range(256))
"""Folders of the archive."""

_SONG = re.compile(SONG_PATTERN)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ORIGINAL = re.compile(r"archive/([0-9a-f]{2})/\1[0-9a-f]{62}")


def orphans(ground: Ground) -> list[Iterator[Removal]]:
    """Return streams, one for each folder, of everything in the store whose song, or whose manifest, does not exist."""
    return [
        *(_unknown_songs(folder, ground=ground) for folder in song_folders(ground.store)),
        *(_unknown_originals(prefix, ground=ground) for prefix in PREFIXES),
        _unknown_there(ground),
        *(_unfiled(ground.store.library(root), ground=ground) for root in ROOTS),
    ]


def kept_long_enough(ground: Ground) -> Iterator[Removal]:
    """Yield what was moved to ``orphaned/`` longer ago than the installation keeps it."""
    limit_s = ground.settings.orphaned_days * DAY_S
    for entry in names_in(ground.store.root / "orphaned"):
        if entry.name.startswith(".") or not entry.is_dir(follow_symlinks=False):
            continue
        moved_at = _moved_at(Path(entry.path))
        weight = weigh(Path(entry.path))
        if weight is None or moved_at is None or ground.age_s(*moved_at) <= limit_s:
            continue
        yield Removal(
            Kind.ORPHANED, How.REMOVE, f"orphaned/{entry.name}", "moved here longer ago than orphaned_days",
            weight.size_bytes, weight.files, weight.inode, weight.changed_ns, guard="none",
        )  # fmt: skip


def song_folders(store: Store) -> list[str]:
    """Return the folders of the store whose entries are named after songs."""
    engines = [entry.name for entry in names_in(store.root) if HAND_OFF.fullmatch(entry.name)]
    return [*(f"stages/{stage}" for stage in ALL_STAGES), *sorted(engines), "sidecars", "error"]


def hand_off_folders(ground: Ground) -> list[str]:
    """Return the folders in which engines are handed requests."""
    return [folder for folder in song_folders(ground.store) if HAND_OFF.fullmatch(folder)]


def batches(entries: Iterable[os.DirEntry[str]]) -> Iterator[list[os.DirEntry[str]]]:
    """Yield entries in lists short enough for one question to the ledger."""
    stream = iter(entries)
    while batch := list(islice(stream, PAGE)):
        yield batch


def is_left_cover(file: Path) -> bool:
    """Return whether a file is the cover of an album with other files: it stays for their sake, whoever brought it."""
    return file.name == COVER and len(names_in(file.parent)) > 1


def _moved_at(folder: Path) -> tuple[float, float] | None:
    """Return when something was moved, by its note and by the note's own time; None where there is no such note."""
    note = folder / NOTE
    try:
        return unix_time(json.loads(note.read_bytes())["moved_at"]), note.stat().st_mtime
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _unknown_songs(folder: str, *, ground: Ground) -> Iterator[Removal]:
    for batch in _scan(ground.store.root / folder):
        named = [entry for entry in batch if _SONG.fullmatch(entry.name)]
        known = ground.ledger.sweeps.known(entry.name for entry in named)
        for entry in named:
            if entry.name not in known:
                if folder == "stages/library_entry":  # before what tells where they are
                    yield from _unmarked(entry.name, ground=ground)
                yield from _orphan(f"{folder}/{entry.name}", song=entry.name, guard="unknown_song", ground=ground)


def _unknown_originals(prefix: str, *, ground: Ground) -> Iterator[Removal]:
    if (ground.store.archive / prefix).is_symlink():
        return
    for batch in _scan(ground.store.archive / prefix):
        paths = [f"archive/{prefix}/{entry.name}" for entry in batch if _SHA256.fullmatch(entry.name)]
        known = ground.ledger.sweeps.referenced(paths)
        for path in paths:
            if path not in known:
                yield from _orphan(path, song="", guard="unknown_original", ground=ground)


def _unknown_there(ground: Ground) -> Iterator[Removal]:
    """Yield originals that are in the bucket alone and that no song has: of uploads that were killed or refused."""
    found = () if ground.store.mirror is None else ground.store.mirror.lasting("archive")
    old = (one for one in found if _ORIGINAL.fullmatch(one.path) and ground.age_s(one.modified_at) > DAY_S)
    while batch := list(islice(old, PAGE)):
        known = ground.ledger.sweeps.referenced(one.path for one in batch)
        for one in batch:
            if one.path not in known and not os.path.lexists(ground.store.root / one.path):
                yield Removal(
                    Kind.ORPHANED, How.MOVE, one.path, "the ledger knows no such song",
                    one.size_bytes, 1, inode=NOT_HERE, changed_ns=0, guard="unknown_original",
                )  # fmt: skip


def _orphan(path: str, *, song: str, guard: Guard, ground: Ground, why: str = "") -> Iterator[Removal]:
    """Yield the move of something that was not touched for an hour; what is younger may be on its way in.

    What is of a song that was deleted, perhaps by another machine, is not kept for anybody.
    """
    weight = weigh(ground.store.root / path)
    if weight is None or ground.age_s(weight.newest) <= PARTIAL_S:
        return
    is_deleted = song != "" and ground.ledger.deletions.is_deleted(song)
    how, reason = (How.REMOVE, "its song was deleted") if is_deleted else (How.MOVE, "the ledger knows no such song")
    yield Removal(
        Kind.ORPHANED, how, path, why or reason,
        weight.size_bytes, weight.files, weight.inode, weight.changed_ns,
        song=song, guard=guard, holders=(song,) if guard == "idle" else (),
    )  # fmt: skip


def _unfiled(library: Path, *, ground: Ground) -> Iterator[Removal]:
    """Yield files of the library that are marked as a song's that is unknown or has no entry."""
    marked: list[tuple[str, str]] = []
    covers: list[tuple[str, str]] = []
    for path in visible_files(library):
        song = marked_song(path)
        if song is not None:
            chosen = covers if is_left_cover(path) else marked
            chosen.append((path.relative_to(ground.store.root).as_posix(), song))
        if max(len(marked), len(covers)) >= PAGE:
            yield from _without_entry(marked, ground=ground)
            yield from _left_alone(covers, ground=ground)
            marked, covers = [], []
    yield from _without_entry(marked, ground=ground)
    yield from _left_alone(covers, ground=ground)


def _left_alone(covers: list[tuple[str, str]], *, ground: Ground) -> Iterator[Removal]:
    """Yield covers beside which nothing is left, because every file there goes too."""
    for cover in _without_entry(covers, ground=ground):
        folder = (ground.store.root / cover.path).parent
        beside = [folder / entry.name for entry in names_in(folder) if entry.name != COVER]
        marked = [
            (path.relative_to(ground.store.root).as_posix(), song) for path in beside if (song := marked_song(path))
        ]
        if len(marked) == len(beside) == len(list(_without_entry(marked, ground=ground))):
            yield cover


def marked_song(path: Path) -> str | None:
    """Return the song that a file is marked as of, if that is the name of one."""
    song = read_mark(path)
    return song if song is not None and _SONG.fullmatch(song) else None


def _without_entry(marked: list[tuple[str, str]], *, ground: Ground) -> Iterator[Removal]:
    """Yield files whose song is unknown, or has neither an entry nor a job that filed it, whatever came later.

    A complete song whose entry is away has good files all the same: the entry was damaged, or is another machine's.
    """
    known = ground.ledger.sweeps.find({song for _, song in marked})
    idle = {song for song, one in known.items() if not one.state.active and not _has_entry(song, ground=ground)}
    unfiled = {song for song in idle if not _has_completed(song, ground=ground)}
    for path, song in marked:
        if song not in known:
            yield from _orphan(path, song=song, guard="unknown_song", ground=ground)
        elif song in unfiled:
            yield from _orphan(path, song=song, guard="idle", ground=ground, why="its song has no library entry")


def _has_completed(song: str, *, ground: Ground) -> bool:
    return any(job.state is JobState.COMPLETED for job in ground.ledger.jobs_of(song))


def _has_entry(song: str, *, ground: Ground) -> bool:
    return os.path.exists(f"{ground.store.root}/stages/library_entry/{song}/manifest.json")  # noqa: PTH110 - many


def _unmarked(song: str, *, ground: Ground) -> Iterator[Removal]:
    """Yield the library's files of an unknown song where the file system keeps no marks."""
    previous = None
    with suppress(IroncladError, ValidationError):
        manifest = read_manifest(ground.store.stage("library_entry", song))
        previous = LibraryEntry.model_validate(manifest.payload)
    with suppress(ValueError):  # a journal that cannot be read names nothing
        claims = load_claims(ground.store, song=song, previous=previous)
        for key in sorted(claims.records):
            file = ground.store.root / key
            if read_mark(file) is None and claims.owns(file, key=key):
                yield from _orphan(key, song=song, guard="unknown_song", ground=ground)


def _scan(folder: Path) -> Iterator[list[os.DirEntry[str]]]:
    try:
        with os.scandir(folder) as entries:
            yield from batches(entries)
    except (FileNotFoundError, NotADirectoryError):
        return


def visible_files(folder: Path) -> Iterator[Path]:
    """Yield every visible file below a library root, but for folders of others that may not be looked into."""
    pending = [folder]
    while pending:
        for entry in names_seen_in(pending.pop()):
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                pending.append(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                yield Path(entry.path)
