"""Left-over temporary files that belong to no song's folder, and logs that are older than their limit.

Only names that this project gives are looked at: in the upload folder lie other people's files, whose half-written
ones are theirs. What lies in a song's own folders is in `songs`.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from ironclad_assets.contracts.v1.base import SONG_PATTERN
from ironclad_assets.pipeline.shelf import ROOTS
from ironclad_assets.pipeline.shelving import WAITING
from ironclad_assets.upkeep.prune.orphans import PREFIXES, batches, hand_off_folders
from ironclad_assets.upkeep.prune.plan import (
    PARTIAL_S,
    Ground,
    Guard,
    How,
    Kind,
    Removal,
    Weight,
    names_in,
    names_seen_in,
    weigh,
)
from ironclad_assets.upkeep.prune.retention import NOBODY
from ironclad_assets.upkeep.prune.songs import ALL_STAGES, TEMPORARY, unix_time

Base = Literal["store", "home"]

_INCOMING = re.compile(r"\.(?P<song>[a-z0-9-]{1,64})\.part")
_FLAT = ("", "archive", "error", "sidecars", "orphaned", "cover-art-cache", "logs", "logs/engines")
_HOME = ("", "run", "cache", "logs", "dagster")


def litter(ground: Ground) -> list[Iterator[Removal]]:
    """Return streams, one for each folder, of temporary files that nobody has written to for an hour."""
    originals = [f"archive/{prefix}" for prefix in PREFIXES]
    stages = [f"stages/{stage}" for stage in ALL_STAGES]  # in which a sweep hides the folder of a song
    folders = (*_FLAT, *originals, *stages, *hand_off_folders(ground))
    return [
        *(_temporaries("store", folder, ground=ground) for folder in folders),
        *(_temporaries("home", folder, ground=ground) for folder in _HOME),
        *(_below(top, ground=ground) for top in ("input", *ROOTS)),
        *(_incoming(root, ground=ground) for root in ROOTS),
    ]


def old_logs(ground: Ground) -> Iterator[Removal]:
    """Yield the logs of jobs and of services that are older than the limits of their users."""
    with suppress(FileNotFoundError), os.scandir(ground.store.root / "logs" / "engines") as entries:
        for batch in batches(entries):
            yield from _job_logs(batch, ground=ground)
    limit_s = ground.retention.logs_s(NOBODY)
    if limit_s is None:
        return
    opened: set[tuple[int, int]] | None = None
    for path in _logs(ground.settings.home_dir / "logs"):
        weight = weigh(path)
        if weight is None or ground.age_s(weight.newest) <= limit_s:
            continue
        opened = files_in_use() if opened is None else opened
        status = path.lstat()
        if (status.st_dev, status.st_ino) not in opened:
            relative = path.relative_to(ground.settings.home_dir).as_posix()
            yield _nobodys(Kind.OLD, "home", relative, weight, why="older than keep_logs_days")


def files_in_use() -> set[tuple[int, int]]:
    """Return device and inode of every file that a process of ours has open: a log is not taken from its writer."""
    found: set[tuple[int, int]] = set()
    for process in names_in(Path("/proc")):
        if not process.name.isdigit():
            continue
        with suppress(OSError):
            for descriptor in os.listdir(f"{process.path}/fd"):
                with suppress(OSError):
                    status = os.stat(f"{process.path}/fd/{descriptor}")  # noqa: PTH116 - a link of the kernel's
                    found.add((status.st_dev, status.st_ino))
    return found


def _temporaries(base: Base, folder: str, *, ground: Ground) -> Iterator[Removal]:
    for entry in names_in(ground.folder(base) / folder):
        if TEMPORARY.fullmatch(entry.name):
            yield from _left(base, f"{folder}/{entry.name}".lstrip("/"), ground=ground)


def _below(folder: str, *, ground: Ground) -> Iterator[Removal]:
    """Yield our own temporary files anywhere below a folder."""
    pending = [folder]
    while pending:
        current = pending.pop()
        for entry in names_seen_in(ground.store.root / current):
            if TEMPORARY.fullmatch(entry.name):
                yield from _left("store", f"{current}/{entry.name}", ground=ground)
            elif entry.is_dir(follow_symlinks=False):
                pending.append(f"{current}/{entry.name}")


def _left(base: Base, path: str, *, ground: Ground) -> Iterator[Removal]:
    weight = weigh(ground.folder(base) / path)
    if weight is not None and ground.age_s(weight.newest) > PARTIAL_S:
        yield _nobodys(Kind.PARTIAL, base, path, weight, why="left over from writing")


def _incoming(root: str, *, ground: Ground) -> Iterator[Removal]:
    """Yield the folders in which songs' files waited for their names, of songs that nobody works on."""
    for entry in names_in(ground.store.library(root)):
        match = _INCOMING.fullmatch(entry.name)
        if match and re.fullmatch(SONG_PATTERN, match["song"]):
            yield from _incoming_of(root, entry, song=match["song"], ground=ground)


def _incoming_of(root: str, entry: os.DirEntry[str], *, song: str, ground: Ground) -> Iterator[Removal]:
    weight = weigh(Path(entry.path))
    one = ground.ledger.sweeps.find([song]).get(song)
    if weight is None or ground.age_s(weight.newest) <= PARTIAL_S or (one is not None and one.state.active):
        return
    if one is None and not _is_ours(entry):
        return
    guard: Guard = "unknown_song" if one is None else "idle"
    yield Removal(
        Kind.PARTIAL, How.REMOVE, f"{root}/{entry.name}", "left over from filing",
        weight.size_bytes, weight.files, weight.inode, weight.changed_ns,
        song=song, user_id="" if one is None else one.user_id, guard=guard, holders=() if one is None else (song,),
    )  # fmt: skip


def _is_ours(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder of copies that are called as filing calls them: others may name theirs so."""
    return entry.is_dir(follow_symlinks=False) and all(WAITING.fullmatch(one.name) for one in names_in(entry.path))


def _job_logs(batch: list[os.DirEntry[str]], *, ground: Ground) -> Iterator[Removal]:
    logs = {entry.name.removesuffix(".log"): entry for entry in batch if entry.name.endswith(".log")}
    known = ground.ledger.sweeps.jobs_of(logs)
    for job_uuid, entry in logs.items():
        user_id, state, changed = known.get(job_uuid, (NOBODY, None, None))
        limit_s = ground.retention.logs_s(user_id)
        if limit_s is None or (state is not None and state.active):
            continue
        weight = weigh(Path(entry.path))
        times = () if changed is None else (unix_time(changed),)
        if weight is not None and ground.age_s(weight.newest, *times) > limit_s:
            path = f"logs/engines/{entry.name}"
            yield _nobodys(Kind.OLD, "store", path, weight, why="older than keep_logs_days", user_id=user_id)


def _logs(folder: Path) -> Iterator[Path]:
    pending = [folder]
    while pending:
        for entry in names_in(pending.pop()):
            if entry.is_dir(follow_symlinks=False):
                pending.append(Path(entry.path))
            elif entry.is_file(follow_symlinks=False) and ".log" in entry.name:
                yield Path(entry.path)


def _nobodys(kind: Kind, base: Base, path: str, weight: Weight, *, why: str, user_id: str = "") -> Removal:
    return Removal(
        kind, How.REMOVE, path, why, weight.size_bytes, weight.files, weight.inode, weight.changed_ns,
        user_id=user_id, guard="none", base=base,
    )  # fmt: skip
