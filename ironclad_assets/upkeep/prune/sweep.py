"""Sweeps: one pass that finds what may go and, unless it is a dry run, lets it go.

Planning and doing are two steps over one list, kept in a file, so that a dry run shows exactly what a sweep takes,
whether a sweep takes too much is known before it takes anything, and memory stays flat with any number of songs.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import IO

from ironclad_assets.errors import ErrorCode, IroncladError, StorageUnavailable, failure
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.sweeps import SweptSong
from ironclad_assets.settings import Settings
from ironclad_assets.storage.mirror import LASTING, ORIGINALS, SENTINEL
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
        left: bytes that stay until somebody confirms, by the user whose they are; they are not among those planned.
        store_bytes: bytes of the whole store.
        refusal: why a sweep leaves something, or everything, without being confirmed, if so.
    """

    planned: Counter[str] = field(default_factory=Counter)
    bytes_planned: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    bytes_removed: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    store_bytes: int = 0
    refusal: IroncladError | None = None


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

    @contextmanager
    def plan(self) -> Iterator[tuple[Swept, Iterable[Removal]]]:
        """Give what a sweep would take now, counted and as a list that can be read while the block lasts.

        What is beyond the share is not in it, unless it is confirmed.

        Raises:
            StorageUnavailable: the store is away or another one: then nothing is known of what may go.
            PermanentFailure: `UNKNOWN_USER`.
        """
        require_store(self.store, self.settings)
        self._require_user()
        with tempfile.TemporaryFile("w+", encoding="utf-8", prefix="ironclad-prune-") as kept:
            believed = believe(self.ledger, self.settings, clock=self.clock)
            swept = Swept()
            lost: Counter[str] = Counter()
            number = 0
            for number, one in enumerate(self._removals(self._ground(believed.now), swept), start=1):
                kept.write(f"{one.to_line()}\n")
                if one.kind not in REPLACEABLE:
                    lost[one.user_id] += self._lost_bytes(one)
                self.tell("planned", number)
            swept.store_bytes = self._measure(lost.total()) if number else 0
            if not self.confirmed:
                doubt = failure(ErrorCode.CLOCK_DOUBTFUL, believed.doubt) if believed.doubt else None
                swept.refusal = doubt or self._leave(swept, lost)
            removals = _Kept(kept, left=frozenset(swept.left))
            for one in removals:
                swept.planned[one.kind] += one.files
                swept.bytes_planned[one.kind] += one.size_bytes
            yield swept, removals

    def run(self) -> Swept:
        """Take what the plan says; a `refusal` of what it came to says that something was left for the share.

        Raises:
            IroncladError: `CLOCK_DOUBTFUL` unless it is confirmed; nothing was touched.
            StorageUnavailable: the store is away, or went away: what comes after is not touched.
            TransientFailure: `BUSY`, another sweep is at work.
        """
        with only_sweep(self.settings), self.plan() as (swept, removals):
            if swept.refusal is not None and not swept.left:
                raise swept.refusal
            hands = Hands(self._ground(self.clock.wall()), actor=self.actor)
            done = 0
            for _, group in groupby(removals, key=_together):
                try:
                    taken = hands.carry_out(list(group))
                except (IroncladError, ValueError, OSError) as error:  # what is broken stops nobody else's
                    swept.skipped[f"it cannot be taken: {self._why_left(error)}"] += 1
                    continue
                for one in taken.removed:
                    swept.removed[one.kind] += one.files
                    swept.bytes_removed[one.kind] += one.size_bytes
                swept.skipped.update(why for _, why in taken.skipped)
                done += len(taken.removed)
                self.tell("taken", done)
            keep_witness(self.settings, clock=self.clock)
            return swept

    def _require_user(self) -> None:
        user_id = self.user_id
        if user_id is None or self.ledger.users.find(user_id) is not None:
            return
        if next(self.ledger.sweeps.songs(user_id=user_id), None) is None:
            raise failure(ErrorCode.UNKNOWN_USER, f"there is no user {user_id!r}")

    def _ground(self, now: float) -> Ground:
        return Ground(self.store, self.ledger, self.settings, Retention(self.ledger), now)

    def _removals(self, ground: Ground, swept: Swept) -> Iterator[Removal]:
        """Yield everything that may go, of the kinds and the user that are asked for; of one song together."""
        folders, leaving = hand_off_folders(ground), Counter[str]()
        for one in self.ledger.sweeps.songs(user_id=self.user_id):
            found = [*self._seen(self._of_song(one, folders=folders, ground=ground, leaving=leaving), swept)]
            yield from sorted((item for item in found if item.kind in self.kinds), key=lambda item: item.kind)
        for stream in corrupt(ground, user_id=self.user_id) if Kind.CORRUPT in self.kinds else ():
            yield from self._seen(stream, swept)
        others: list[Iterator[Removal]] = [old_logs(ground)]
        if self.user_id is None:
            others += litter(ground)
            others += [*orphans(ground), kept_long_enough(ground)] if Kind.ORPHANED in self.kinds else []
        for stream in others:
            for item in self._seen(stream, swept):
                if item.kind in self.kinds and self.user_id in (None, item.user_id):
                    yield item

    @staticmethod
    def _of_song(one: SweptSong, *, folders: list[str], ground: Ground, leaving: Counter[str]) -> Iterator[Removal]:
        """Yield everything that may go of a song that the ledger knows."""
        yield from leftovers(one, ground=ground)
        yield from old_files(one, ground=ground, leaving=leaving)
        yield from old_original(one, ground=ground)
        for folder in folders:
            yield from hand_off(one, folder=folder, ground=ground)

    def _seen(self, stream: Iterator[Removal], swept: Swept) -> Iterator[Removal]:
        """Yield from a stream until something in it cannot be looked at, which stops no other.

        Raises:
            StorageUnavailable: it is the store, its bucket or the ledger that went away.
        """
        try:
            yield from stream
        except StorageUnavailable as error:
            require_store(self.store, self.settings)
            self.ledger.sweeps.newest_line()
            if self.store.mirror is not None:
                self.store.mirror.objects.probe(SENTINEL)  # it may have answered a moment ago, and not now
            swept.skipped[f"it cannot be looked at: {error.code.code}"] += 1
        except OSError as error:
            swept.skipped[f"it cannot be looked at: {self._why_left(error)}"] += 1

    def _why_left(self, error: IroncladError | ValueError | OSError) -> str:
        """Return what went wrong with one thing, without its path; raise where the store or its bucket is away."""
        require_store(self.store, self.settings)
        if not isinstance(error, IroncladError):
            return str(getattr(error, "strerror", "")) or type(error).__name__
        if error.code is ErrorCode.STORAGE_AWAY and self.store.mirror is not None:
            raise error
        return error.code.code

    def _lost_bytes(self, one: Removal) -> int:
        """Return how much goes that cannot be made again: an original whose bytes a backup has too frees nothing."""
        if not one.path.startswith(ORIGINALS):
            return one.size_bytes
        with suppress(OSError):
            return (self.store.root / one.path).lstat().st_size
        return one.size_bytes

    def _measure(self, lost: int) -> int:
        """Return the bytes of the whole store; the bucket, which may have more of them, is asked where that matters."""
        here = measure(self.store.root, but=BACKUPS)
        if self.store.mirror is None or lost <= int(self.settings.prune_share * here):
            return here
        return max(here, sum(one.size_bytes for folder in LASTING for one in self.store.lasting(folder)))

    def _leave(self, swept: Swept, lost: Counter[str]) -> IroncladError | None:
        """Choose whose removals are left because all would be more than the share; return why, if any are.

        Who loses least comes first, so that nobody's large expiry keeps what others may let go. What is nobody's is
        left or taken as a whole too: a ledger of another day makes everything that.
        """
        most = int(self.settings.prune_share * swept.store_bytes)
        room = most
        for user_id, size_bytes in sorted(lost.items(), key=lambda item: (item[1], item[0])):
            room -= size_bytes
            if room < 0 < size_bytes:
                swept.left[user_id] = size_bytes
        if not swept.left:
            return None
        return failure(
            ErrorCode.SWEEP_TOO_LARGE,
            f"{swept.left.total()} bytes that cannot be made again stay, of {len(swept.left)} owners: "
            f"of {swept.store_bytes} bytes in the store a sweep takes {most} ({self.settings.prune_share:.0%})",
        )


@dataclass(frozen=True, slots=True)
class _Kept:
    """A plan in a file, read from its start each time; what `left` have that cannot be made again is not in it."""

    file: IO[str]
    left: frozenset[str]

    def __iter__(self) -> Iterator[Removal]:
        self.file.seek(0)
        for one in map(Removal.from_line, self.file):
            if one.kind in REPLACEABLE or one.user_id not in self.left:
                yield one


def _together(one: Removal) -> tuple[str, ...]:
    """Return what removals that are carried out in one step have in common; what is nobody's goes one by one."""
    return (one.song, one.kind, one.guard, *one.holders) if one.song else (one.path, one.kind, one.guard)
