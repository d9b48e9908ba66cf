"""Retention of what users see: tracks and stems in the library, and originals.

A file of the library goes together with its name in the song's entry, so that nobody misses it afterwards; an
original that several users brought stays until the last of them may not keep it any longer.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from ironclad_assets.contracts.v1.library_entry import EntryFile, LibraryEntry
from ironclad_assets.errors import IroncladError
from ironclad_assets.ledger.sweeps import SweptSong
from ironclad_assets.ledger.usage import ORIGINAL
from ironclad_assets.pipeline.ownership import Claims, load_claims, marked_by_us
from ironclad_assets.pipeline.shelf import COVER
from ironclad_assets.storage.artifacts import read_manifest
from ironclad_assets.upkeep.prune.plan import NOT_HERE, Ground, How, Kind, Removal, Weight, freed_bytes, names_in, weigh
from ironclad_assets.upkeep.prune.songs import unix_time


def old_files(one: SweptSong, *, ground: Ground, leaving: Counter[str]) -> Iterator[Removal]:
    """Yield the files in the library that are older than their user's limits.

    `leaving` counts, by folder, what goes in this sweep: a cover goes with the last song of its album.
    """
    limits = {"output": ground.retention.tracks_s(one.user_id), "output-stems": ground.retention.stems_s(one.user_id)}
    age_s = ground.age_s(unix_time(one.ended_at))
    reached = {root: limit_s for root, limit_s in limits.items() if limit_s is not None and age_s > limit_s}
    if one.state.active or not reached:
        return  # before any file is looked at: where the file system keeps no marks, that reads it
    try:
        manifest = read_manifest(ground.store.stage("library_entry", one.song))
        entry = LibraryEntry.model_validate(manifest.payload)
        claims = load_claims(ground.store, song=one.song, previous=entry)
    except (IroncladError, ValidationError):
        return
    except ValueError:
        claims = None  # a journal that cannot be read: whoever takes the files says so
    for root, limit_s in reached.items():
        files = [item for item in entry.files if item.root == root and _is_own(item, claims=claims, ground=ground)]
        found = _old(files, one=one, limit_s=limit_s, ground=ground)
        folders = [PurePosixPath(removal.path).parent for removal in found if removal.files]
        leaving.update(str(folder) for folder in folders)
        yield from found
        for folder in dict.fromkeys(folders):
            yield from _left_cover(folder, found=found, one=one, ground=ground, leaving=leaving)


def _is_own(item: EntryFile, *, claims: Claims | None, ground: Ground) -> bool:
    """Return whether a file is the song's still, or gone; what somebody made of it with an editor stays."""
    key = f"{item.root}/{item.file.path}"
    file = ground.store.root / key
    return claims is None or not os.path.lexists(file) or claims.owns(file, key=key)


def _old(files: list[EntryFile], *, one: SweptSong, limit_s: float, ground: Ground) -> list[Removal]:
    """Return the removals of all files of one library root, or none: they came together."""
    ended = unix_time(one.ended_at)
    found: list[Removal] = []
    for item in files:
        path = f"{item.root}/{item.file.path}"
        try:
            status = (ground.store.root / path).stat()
        except (FileNotFoundError, NotADirectoryError):
            found.append(_gone(path, one))
            continue
        if item.role == "cover" and _is_shared(ground.store.root / path, own={one.file.path for one in files}):
            continue  # the album's other songs keep it; the entry forgets it with the rest
        if ground.age_s(ended, status.st_mtime) <= limit_s:
            return []
        why = f"older than keep_{'tracks' if item.root == 'output' else 'stems'}_days"
        found.append(
            Removal(
                Kind.OLD,
                How.UNFILE,
                path,
                why,
                freed_bytes(status),
                1,
                status.st_ino,
                status.st_mtime_ns,
                song=one.song,
                user_id=one.user_id,
                holders=(one.song,),
            )
        )
    return found


def _left_cover(
    folder: PurePosixPath, *, found: list[Removal], one: SweptSong, ground: Ground, leaving: Counter[str]
) -> Iterator[Removal]:
    """Yield the cover that another song brought, if this is the last song of the album that goes."""
    path = f"{folder}/{COVER}"
    names = [entry.name for entry in names_in(ground.store.root / folder)]
    weight = weigh(ground.store.root / path)
    is_last = COVER in names and len(names) == leaving[str(folder)] + 1
    is_ours = is_last and marked_by_us(ground.store.root / path, store=ground.store)
    if is_ours and weight is not None and path not in {removal.path for removal in found}:
        yield Removal(
            Kind.OLD, How.UNFILE, path, "the cover of an album of which nothing is left",
            weight.size_bytes, weight.files, weight.inode, weight.changed_ns,
            song=one.song, user_id=one.user_id, holders=(one.song,),
        )  # fmt: skip


def _is_shared(cover: Path, *, own: set[str]) -> bool:
    """Return whether files that are not this song's lie beside a cover."""
    names = {PurePosixPath(path).name for path in own}
    return any(entry.name not in names for entry in names_in(cover.parent))


def _gone(path: str, one: SweptSong) -> Removal:
    """Return the removal of a name whose file somebody took away already, maybe a sweep that was killed."""
    return Removal(
        Kind.OLD, How.UNFILE, path, "gone already, the entry still names it", 0, 0, 0, 0,
        song=one.song, user_id=one.user_id, holders=(one.song,),
    )  # fmt: skip


def old_original(one: SweptSong, *, ground: Ground) -> Iterator[Removal]:
    """Yield a song's original where it is older than every limit that holds for it."""
    limit_s = ground.retention.originals_s(one.user_id)
    if limit_s is None or one.state.active or one.sha256 is None or not _is_old(one, limit_s=limit_s, ground=ground):
        return
    sharing = ground.ledger.sweeps.sharing(one.archive_path)
    if not sharing or sharing[0].song != one.song:
        return  # the first song that has it speaks for all
    for other in sharing:
        limit_s = ground.retention.originals_s(other.user_id)
        if limit_s is None or other.state.active or not _is_old(other, limit_s=limit_s, ground=ground):
            return
    weight = weigh(ground.store.root / one.archive_path) or _weigh_there(sharing, ground=ground)
    if weight is None or ground.age_s(weight.newest) <= limit_s_of(sharing, ground=ground):
        return
    yield Removal(
        Kind.OLD, How.REMOVE, one.archive_path, "older than keep_originals_days",
        weight.size_bytes, weight.files, weight.inode, weight.changed_ns,
        song=one.song, user_id=one.user_id, holders=tuple(other.song for other in sharing),
    )  # fmt: skip


def _weigh_there(sharing: list[SweptSong], *, ground: Ground) -> Weight | None:
    """Look at an original that is not here where the store lasts; None where it went already, by the ledger's count."""
    mirror = ground.store.mirror
    if mirror is None or not any(ORIGINAL in ground.ledger.usage.stored(one.song) for one in sharing):
        return None
    head = mirror.objects.head(sharing[0].archive_path)
    return None if head is None else Weight(head.size_bytes, 1, head.modified_at, inode=NOT_HERE, changed_ns=0)


def limit_s_of(sharing: list[SweptSong], *, ground: Ground) -> float:
    """Return the longest time that one of these songs may keep its original."""
    return max(ground.retention.originals_s(one.user_id) or 0.0 for one in sharing)


def _is_old(one: SweptSong, *, limit_s: float, ground: Ground) -> bool:
    return ground.age_s(unix_time(one.uploaded_at), unix_time(one.ended_at)) > limit_s
