"""Sweeps: one pass that finds what may go and, unless it is a dry run, lets it go.

Planning and doing are two steps over one list, kept in a file, so that a dry run shows exactly what a sweep takes,
whether a sweep takes too much is known before it takes anything, and memory stays flat with any number of songs.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import IO

from ironclad_assets.errors import ErrorCode, IroncladError, StorageUnavailable, failure
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.settings import Settings
from ironclad_assets.storage.mirror import ORIGINALS
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.prune.corrupt import corrupt
from ironclad_assets.upkeep.prune.guard import Clock, believe, keep_witness, only_sweep, require_store
from ironclad_assets.upkeep.prune.hands import Hands
from ironclad_assets.upkeep.prune.library import old_files, old_original
from ironclad_assets.upkeep.prune.litter import litter, old_logs
from ironclad_assets.upkeep.prune.orphans import hand_off_folders, kept_long_enough, orphans
from ironclad_assets.upkeep.prune.plan import REPLACEABLE, Ground, Kind, Removal, measure
from ironclad_assets.upkeep.prune.retention import Retention
from ironclad_assets.upkeep.prune.songs import hand_off, leftovers

Tell = Callable[[str, int], None]
"""Hears how far a sweep is: a word for the step, and how many things were looked at or taken."""

ALL_KINDS = frozenset(Kind)

BACKUPS = "backups"
"""The store's folder whose bytes are copies: they do not make the share larger that a sweep may take."""


def keep_quiet(step: str, done: int) -> None:
    """Hear of progress and say nothing."""


@dataclass(slots=True)
class Swept:
    """What a sweep, or a dry run, came to.

    Attributes:
        planned: files and bytes that would go, by kind.
        bytes_planned: bytes of those.
        removed: the same of what went; empty in a dry run.
        bytes_removed: bytes of those.
        skipped: how often something planned was left, by reason.
        store_bytes: bytes of the whole store.
        refusal: why a sweep does nothing without being confirmed, if so.
    """

    planned: Counter[str] = field(default_factory=Counter)
    bytes_planned: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    bytes_removed: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    store_bytes: int = 0
    refusal: IroncladError | None = None

    def __add__(self, other: "Swept") -> "Swept":
        """Return what two sweeps of one store came to together."""
        return Swept(
            planned=self.planned + other.planned,
            bytes_planned=self.bytes_planned + other.bytes_planned,
            removed=self.removed + other.removed,
            bytes_removed=self.bytes_removed + other.bytes_removed,
            skipped=self.skipped + other.skipped,
            store_bytes=max(self.store_bytes, other.store_bytes),
            refusal=self.refusal or other.refusal,
        )


@dataclass(frozen=True, slots=True)
class Sweep:
    """One sweep of one installation.

    Attributes:
        kinds: what is looked for.
        user_id: whose songs alone, if not everybody's; then nothing that is nobody's goes.
        actor: who sweeps, for the audit.
        confirmed: whether somebody looked: the share of the store and doubts about the clock do not matter then.
        clock: the clocks of this machine.
        tell: hears of progress.
    """

    store: Store
    ledger: Ledger
    settings: Settings
    actor: str
    kinds: frozenset[Kind] = ALL_KINDS
    user_id: str | None = None
    confirmed: bool = False
    clock: Clock = field(default_factory=Clock)
    tell: Tell = keep_quiet

    def of(self, kinds: frozenset[Kind]) -> "Sweep":
        """Return the same sweep for these kinds alone."""
        return replace(self, kinds=kinds)

    @contextmanager
    def plan(self) -> Iterator[tuple[Swept, Iterable[Removal]]]:
        """Give what a sweep would take now, counted and as a list that can be read while the block lasts.

        Raises:
            StorageUnavailable: the store is away or another one: then nothing is known of what may go.
        """
        require_store(self.store, self.settings)
        with tempfile.TemporaryFile("w+", encoding="utf-8", prefix="ironclad-prune-") as kept:
            believed = believe(self.ledger, self.settings, clock=self.clock)
            swept = Swept()
            lost = 0
            for number, one in enumerate(self._removals(self._ground(believed.now)), start=1):
                kept.write(f"{one.to_line()}\n")
                swept.planned[one.kind] += one.files
                swept.bytes_planned[one.kind] += one.size_bytes
                lost += 0 if one.kind in REPLACEABLE else self._lost_bytes(one)
                self.tell("planned", number)
            swept.store_bytes = measure(self.store.root, but=BACKUPS) if swept.planned.total() else 0
            if believed.doubt:
                swept.refusal = failure(ErrorCode.CLOCK_DOUBTFUL, believed.doubt)
            else:
                swept.refusal = self._too_large(lost, of=swept.store_bytes)
            yield swept, _Kept(kept)

    def run(self) -> Swept:
        """Take what the plan says.

        Raises:
            IroncladError: `SWEEP_TOO_LARGE` or `CLOCK_DOUBTFUL` unless it is confirmed; nothing was touched.
            StorageUnavailable: the store is away, or went away: what comes after is not touched.
            TransientFailure: `BUSY`, another sweep is at work.
        """
        with only_sweep(self.settings), self.plan() as (swept, removals):
            if swept.refusal is not None and not self.confirmed:
                raise swept.refusal
            hands = Hands(self._ground(self.clock.wall()), actor=self.actor)
            done = 0
            for _, group in groupby(removals, key=_together):
                try:
                    taken = hands.carry_out(list(group))
                except StorageUnavailable:
                    raise
                except (IroncladError, ValueError, FileNotFoundError) as error:  # what is broken stops nobody else's
                    swept.skipped[f"it cannot be read: {type(error).__name__}"] += 1
                    continue
                for one in taken.removed:
                    swept.removed[one.kind] += one.files
                    swept.bytes_removed[one.kind] += one.size_bytes
                swept.skipped.update(why for _, why in taken.skipped)
                done += len(taken.removed)
                self.tell("taken", done)
            keep_witness(self.settings, clock=self.clock)
            return swept

    def _ground(self, now: float) -> Ground:
        return Ground(self.store, self.ledger, self.settings, Retention(self.ledger), now)

    def _removals(self, ground: Ground) -> Iterator[Removal]:
        """Yield everything that may go, of the kinds and the user that are asked for; of one song together."""
        folders = hand_off_folders(ground)
        for one in self.ledger.sweeps.songs(user_id=self.user_id):
            found = [*leftovers(one, ground=ground), *old_files(one, ground=ground), *old_original(one, ground=ground)]
            for folder in folders:
                found += hand_off(one, folder=folder, ground=ground)
            yield from sorted((item for item in found if item.kind in self.kinds), key=lambda item: item.kind)
        if Kind.CORRUPT in self.kinds:
            yield from corrupt(ground, user_id=self.user_id)
        others: list[Iterator[Removal]] = [old_logs(ground)]
        if self.user_id is None:
            others += [litter(ground), orphans(ground), kept_long_enough(ground)]
        for stream in others:
            for item in stream:
                if item.kind in self.kinds and self.user_id in (None, item.user_id):
                    yield item

    def _lost_bytes(self, one: Removal) -> int:
        """Return how much goes that cannot be made again: an original whose bytes a backup has too frees nothing."""
        if not one.path.startswith(ORIGINALS):
            return one.size_bytes
        with suppress(OSError):
            return (self.store.root / one.path).lstat().st_size
        return one.size_bytes

    def _too_large(self, lost: int, *, of: int) -> IroncladError | None:
        """Return the refusal of a sweep that takes more than its share of what could not be made again."""
        most = int(self.settings.prune_share * of)
        if lost <= most:
            return None
        return failure(
            ErrorCode.SWEEP_TOO_LARGE,
            f"{lost} bytes would go that cannot be made again; of {of} bytes in the store a sweep "
            f"takes {most} ({self.settings.prune_share:.0%})",
        )


@dataclass(frozen=True, slots=True)
class _Kept:
    """A plan in a file, read from its start each time."""

    file: IO[str]

    def __iter__(self) -> Iterator[Removal]:
        self.file.seek(0)
        for line in self.file:
            yield Removal.from_line(line)


def _together(one: Removal) -> tuple[str, ...]:
    """Return what removals that are carried out in one step have in common; what is nobody's goes one by one."""
    return (one.song, one.kind, one.guard, *one.holders) if one.song else (one.path, one.kind, one.guard)
