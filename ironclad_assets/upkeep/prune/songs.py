"""What may go of a song that the ledger knows: left-over writing, intermediates, and what is older than its limit.

A song with an active job is left alone altogether. Every age is the smaller of two: since its job ended, by the
ledger, and since the files changed. Retention in the library and of originals is in `library`.
"""

import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from ironclad_assets.contracts.v1.job import STAGES, JobState
from ironclad_assets.contracts.v1.library_entry import LibraryEntry
from ironclad_assets.errors import IroncladError
from ironclad_assets.ledger.sweeps import SweptSong
from ironclad_assets.storage.artifacts import read_manifest
from ironclad_assets.storage.notes import has_note, note_of
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.prune.plan import PARTIAL_S, Ground, Guard, How, Kind, Removal, Weight, names_in, weigh

ALL_STAGES = (*STAGES, "song_analysis")
RAW_STAGES = frozenset({"staged_chunks", "stems", "recombined_track"})
"""Stages whose files a retry makes again: raw audio, and tracks of which the library has a copy of its own."""

HIDDEN = re.compile(r"\.[0-9a-z_-]+\.part")
TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.part")
"""What `storage/atomic.py` calls a file that is being written, and a sweep what is on its way out."""

_CHECKPOINT = "checkpoint"


def leftovers(one: SweptSong, *, ground: Ground) -> Iterator[Removal]:
    """Yield what goes of one song: partial and intermediate things, and its quarantine when it is old."""
    if one.state.active:
        return
    look = _Look(one, ground=ground)
    for stage in ALL_STAGES:
        yield from look.stage(stage)
    for name in ("error", "sidecars"):
        yield from look.temporaries(f"{ground.store.root}/{name}/{one.song}")
    yield from look.old_quarantine()


def hand_off(one: SweptSong, *, folder: str, ground: Ground) -> Iterator[Removal]:
    """Yield the hand-off of an ended job in ``<engine>-input``, where it is older than intermediates may be."""
    if not one.state.active:
        yield from _Look(one, ground=ground).hand_off(f"{folder}/{one.song}")


def unix_time(text: str) -> float:
    """Return the Unix time of a time of the ledger."""
    return datetime.fromisoformat(text).timestamp()


class _Look:
    """One song looked at."""

    def __init__(self, one: SweptSong, *, ground: Ground) -> None:
        self._one = one
        self._ground = ground
        self._root = str(ground.store.root)
        self._ended = unix_time(one.ended_at)
        self._limit_s = ground.retention.intermediate_s(one.user_id)
        self._replaceable: bool | None = None

    def stage(self, stage: str) -> Iterator[Removal]:
        """Yield what goes of one stage's folder."""
        entries = names_in(f"{self._root}/stages/{stage}/{self._one.song}")
        if not entries:
            return
        folder = self._ground.store.stage(stage, self._one.song).path
        visible = [entry for entry in entries if entry.is_dir(follow_symlinks=False) and entry.name[0] != "."]
        manifest = next((entry for entry in entries if entry.name == "manifest.json"), None)
        for entry in entries:
            if HIDDEN.fullmatch(entry.name):
                yield from self._hidden(stage, entry)
        if stage == "library_entry":  # the one whose files `library organise` writes again in place
            for entry in visible:
                yield from self.temporaries(entry.path)
        if manifest is not None and stage in RAW_STAGES:
            yield from self._artifact(stage, folder, visible)
        elif manifest is None or len(visible) > 1:
            yield from self._unnamed(stage, folder, visible, has_manifest=manifest is not None)

    def _hidden(self, stage: str, entry: os.DirEntry[str]) -> Iterator[Removal]:
        """Yield a file or folder that is being written by nobody; a separation that can go on is an intermediate."""
        path = f"stages/{stage}/{self._one.song}/{entry.name}"
        resumable = entry.is_dir(follow_symlinks=False) and (Path(entry.path) / _CHECKPOINT).exists()
        if resumable:
            yield from self._intermediate(path, why="the checkpoint of a job that ended")
        else:
            yield from self._partial(path)

    def _partial(self, path: str) -> Iterator[Removal]:
        weight = weigh(self._ground.store.root / path)
        if weight is not None and self._ground.age_s(weight.newest, self._ended) > PARTIAL_S:
            yield self._removal(Kind.PARTIAL, How.REMOVE, path, weight, why="left over from writing")

    def temporaries(self, folder: str) -> Iterator[Removal]:
        """Yield what was being written in a folder of the song."""
        for entry in names_in(folder):
            if TEMPORARY.fullmatch(entry.name):
                yield from self._partial(Path(entry.path).relative_to(self._ground.store.root).as_posix())

    def hand_off(self, path: str) -> Iterator[Removal]:
        yield from self._intermediate(path, why="the hand-off of a job that ended", anyway=True)

    def _artifact(self, stage: str, folder: Path, visible: list[os.DirEntry[str]]) -> Iterator[Removal]:
        """Yield the artifact of a stage that a retry makes again, and files beside it that no manifest names."""
        try:
            named_by = read_manifest(self._ground.store.stage(stage, self._one.song))
        except IroncladError:
            return  # damaged or newer: `verify` says so
        named = named_by.folder
        if self._ground.store.mirror is not None and named not in [entry.name for entry in visible]:
            yield from self._without_copy(stage, folder, sum(file.size_bytes for file in named_by.files))
        for entry in visible:
            path = f"stages/{stage}/{self._one.song}"
            if entry.name != named:
                yield from self._intermediate(f"{path}/{entry.name}", why="no manifest names it")
                continue
            weight, manifest = weigh(Path(entry.path)), weigh(folder / "manifest.json")
            if weight is None or manifest is None or not self._may_go(max(weight.newest, manifest.newest)):
                continue
            yield self._removal(
                Kind.INTERMEDIATE,
                How.RETIRE,
                path,
                Weight(weight.size_bytes, weight.files + 1, weight.newest, manifest.inode, manifest.changed_ns),
                why=f"the song's job {self._one.state}; a retry makes it again",
                names=("manifest.json", entry.name),
            )

    def _without_copy(self, stage: str, folder: Path, size_bytes: int) -> Iterator[Removal]:
        """Yield an artifact whose files are in the bucket alone; without its manifest they are left over there."""
        manifest = weigh(folder / "manifest.json")
        if manifest is None or not self._may_go(manifest.newest):
            return
        yield self._removal(
            Kind.INTERMEDIATE,
            How.RETIRE,
            f"stages/{stage}/{self._one.song}",
            Weight(size_bytes, 1, manifest.newest, manifest.inode, manifest.changed_ns),
            why=f"the song's job {self._one.state}; a retry makes it again",
            names=("manifest.json",),
        )

    def _unnamed(
        self, stage: str, folder: Path, visible: list[os.DirEntry[str]], *, has_manifest: bool
    ) -> Iterator[Removal]:
        """Yield the files of keys that no manifest names."""
        named = ""
        if has_manifest:
            try:
                named = read_manifest(self._ground.store.stage(stage, self._one.song)).folder
            except IroncladError:
                return
        for entry in visible:
            if entry.name != named:
                path = f"stages/{stage}/{folder.name}/{entry.name}"
                yield from self._intermediate(path, why="no manifest names it")

    def _intermediate(self, path: str, *, why: str, anyway: bool = False) -> Iterator[Removal]:
        weight = weigh(f"{self._root}/{path}")
        if weight is not None and self._may_go(weight.newest, anyway=anyway):
            yield self._removal(Kind.INTERMEDIATE, How.REMOVE, path, weight, why=why)

    def _may_go(self, newest: float, *, anyway: bool = False) -> bool:
        """Return whether an intermediate is older than its limit and, if it matters, can be made again."""
        if self._limit_s is None or self._ground.age_s(newest, self._ended) <= self._limit_s:
            return False
        if anyway:
            return True
        if self._replaceable is None:
            self._replaceable = self._has_original() and (self._one.state is not JobState.COMPLETED or self._is_filed())
        return self._replaceable

    def _has_original(self) -> bool:
        """Return whether the original is there, or went because it was older than its limit."""
        try:
            size = (self._ground.store.root / self._one.archive_path).stat().st_size
        except FileNotFoundError:
            store, archive_path = self._ground.store, self._one.archive_path
            noted = note_of(store.path(archive_path)).exists() or lasts_elsewhere(store, archive_path)
            return noted or has_note(store, archive_path)
        return size == self._one.size_bytes

    def _is_filed(self) -> bool:
        """Return whether everything that the song's entry names stands in the library, as long as it should be."""
        store = self._ground.store
        try:
            entry = LibraryEntry.model_validate(read_manifest(store.stage("library_entry", self._one.song)).payload)
            files = ((store.library(item.root) / item.file.path, item.file.size_bytes) for item in entry.files)
            return all(file.stat().st_size == size for file, size in files)
        except (IroncladError, ValidationError, FileNotFoundError, NotADirectoryError):
            return False

    def old_quarantine(self) -> Iterator[Removal]:
        """Yield what was refused or failed longer ago than the user's limit."""
        limit_s = self._ground.retention.errors_s(self._one.user_id)
        if limit_s is None or self._ground.age_s(self._ended) <= limit_s:
            return
        path = f"error/{self._one.song}"
        weight = weigh(f"{self._root}/{path}")
        if weight is not None and self._ground.age_s(weight.newest, self._ended) > limit_s:
            yield self._removal(Kind.OLD, How.REMOVE, path, weight, why="quarantined longer ago than keep_errors_days")

    def _removal(
        self, kind: Kind, how: How, path: str, weight: Weight, *, why: str, names: tuple[str, ...] = ()
    ) -> Removal:
        guard: Guard = "idle"
        return Removal(
            kind=kind,
            how=how,
            path=path,
            why=why,
            size_bytes=weight.size_bytes,
            files=weight.files,
            inode=weight.inode,
            changed_ns=weight.changed_ns,
            song=self._one.song,
            user_id=self._one.user_id,
            names=names,
            guard=guard,
            holders=(self._one.song,),
        )


def lasts_elsewhere(store: Store, path: str) -> bool:
    """Return whether an object store holds a file that is not on this machine."""
    return store.mirror is not None and store.mirror.objects.head(path) is not None
