"""Entries that are in the library already, moved to where present tags and templates want them, or only shown there.

Nothing is separated, encoded or copied again: an entry's own files get other names, then its manifest says so. Both
ways make the same decisions (`pipeline/shelf.py`); a preview only has pretended hands (`pipeline/hands.py`). An entry
that a job works on, or whose tags are not in the store any more, is left alone and named.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from ironclad_assets.contracts.v1.base import FileRecord
from ironclad_assets.contracts.v1.library_entry import EntryFile, LibraryEntry
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import PermanentFailure
from ironclad_assets.pipeline.filed import (
    STAGE,
    FiledEntry,
    keep_entry,
    load_filed,
    moved_covers,
    song_deliveries,
    wanted_lyrics,
)
from ironclad_assets.pipeline.hands import Hands, PretendedHands, real_hands
from ironclad_assets.pipeline.listing import Listing
from ironclad_assets.pipeline.naming import fold
from ironclad_assets.pipeline.ownership import hold_entry
from ironclad_assets.pipeline.shelf import Delivery, Shelf, Slot
from ironclad_assets.pipeline.shelving import sync_folders
from ironclad_assets.pipeline.templates import Layout
from ironclad_assets.pipeline.wishes import wished_deliveries
from ironclad_assets.storage.artifacts import read_manifest
from ironclad_assets.storage.store import Store

BATCH = 64
"""Songs that are made durable together."""

SYNCING_THREADS = 16


@dataclass(frozen=True, slots=True)
class Move:
    """A file that gets another path below its root. `after` is None where it goes for good."""

    role: str
    name: str
    root: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Rearranged:
    """What became, or would become, of one song. `reason` says why it was left alone, `missing` what is not there."""

    song: str
    user_id: str = ""
    title: str = ""
    files: tuple[EntryFile, ...] = ()
    moves: tuple[Move, ...] = ()
    missing: tuple[str, ...] = ()
    reason: str = ""


@dataclass(slots=True)
class Rearrangement:
    """One pass over many entries.

    `pretend` touches nothing, and may be asked what a `wish` for other options would leave. `busy` says why a song
    must be left alone now, or nothing. `stop` is asked between two batches; `tell` hears how many of how many are
    done. `user_id` leaves out the songs of others.
    """

    store: Store
    layout: Layout
    pretend: bool
    busy: Callable[[str], str | None] = lambda song: None
    stop: Callable[[], bool] = lambda: False
    tell: Callable[[int, int], None] = lambda done, total: None
    user_id: str | None = None
    wish: JobOptions | None = None
    _thought: "_World" = field(default_factory=lambda: _World())
    _real: "_World" = field(default_factory=lambda: _World())

    def run(self, songs: Sequence[str]) -> Iterator[Rearranged]:
        """Yield each song as it is done; one that would only become a copy ``(2)`` is looked at again at the end.

        Raises:
            StorageUnavailable: the store is away, full or read-only; whatever was moved is kept.
        """
        self.store.require_ready()
        later: list[str] = []
        done = 0
        with ThreadPoolExecutor(SYNCING_THREADS, thread_name_prefix="sync") as pool:
            for queue, patient in ((songs, True), (later, False)):
                for start in range(0, len(queue), BATCH):
                    if self.stop():
                        return
                    for found in self._batch(queue[start : start + BATCH], patient=patient, pool=pool):
                        if isinstance(found, str):
                            later.append(found)
                            continue
                        done += 1
                        self.tell(done, len(songs))
                        if self.user_id in (None, found.user_id):
                            yield found

    def _batch(self, songs: Sequence[str], *, patient: bool, pool: ThreadPoolExecutor) -> list[Rearranged | str]:
        """Return what became of each song, or its name where another may still make way for it.

        What is decided for all of them is made durable together, because a disk waits as long for one as for many.
        """
        with ExitStack() as locks:
            looked = [self._look(song, patient=patient, locks=locks) for song in songs]
            plans = [one for one in looked if isinstance(one, _Plan)]
            if not self.pretend:
                list(pool.map(_Plan.announce, plans))
                self._carry_out(plans, pool=pool)
        return [one.result if isinstance(one, _Plan) else one for one in looked]

    def _look(self, song: str, *, patient: bool, locks: ExitStack) -> "Rearranged | str | _Plan":
        """Return what is to be done with a song, or why nothing is."""
        try:
            one = load_filed(self.store, song=song)
            if self.user_id not in (None, one.manifest.user_id):
                return _tell(one)
            deliveries = self._wanted(one)
            chosen = self._shelf(one, self._pretended(), world=self._thought).choose(deliveries)
            wanted = [slot.path for slot in chosen.values()]
            if wanted == [item.earlier for item in deliveries] and not one.lacks_lyrics and self.wish is None:
                return _tell(one)
            if patient and _crowded(wanted, deliveries=deliveries):
                return song
            if not self.pretend:
                locks.enter_context(hold_entry(self.store, song=song))
                why = self.busy(song)
                if why:
                    return replace(_tell(one), reason=why)
                if read_manifest(self.store.stage(STAGE, song)) != one.manifest:
                    return replace(_tell(one), reason="a job has just filed it; run this again")
            hands = self._pretended()
            shelf = self._shelf(one, hands, world=self._thought)
            entry, missing = self._place(one, shelf, deliveries=deliveries, chosen=chosen)
        except PermanentFailure as error:
            return Rearranged(song, reason=error.describe())
        result = replace(_tell(one), files=entry.files, moves=_moves(one.entry.files, entry.files), missing=missing)
        return _Plan(one, deliveries=deliveries, entry=entry, announced=hands.announced, result=result)

    def _wanted(self, one: FiledEntry) -> list[Delivery]:
        if self.wish is None or not self.pretend:
            return song_deliveries(one, layout=self.layout)
        return wished_deliveries(one, wish=self.wish, layout=self.layout, store=self.store)

    def _carry_out(self, plans: Sequence["_Plan"], *, pool: ThreadPoolExecutor) -> None:
        """Do what was planned, then make it last; whatever happens, what was moved is kept."""
        touched: set[Path] = set()
        done: list[_Plan] = []
        try:
            for plan in plans:
                one = plan.one
                with real_hands(
                    store=self.store, song=one.song, listing=self._real.listing, announced=plan.announced
                ) as hands:
                    shelf = self._shelf(one, hands, world=self._real)
                    try:
                        entry, missing = self._place(one, shelf, deliveries=plan.deliveries)
                    finally:
                        touched |= hands.touched
                if entry != plan.entry:  # somebody else was faster somewhere: what was thought is no guide
                    self._thought, self._real = _World(), _World()
                    moves = _moves(one.entry.files, entry.files)
                    plan.entry, plan.result = (
                        entry,
                        replace(plan.result, files=entry.files, moves=moves, missing=missing),
                    )
                done.append(plan)
        finally:
            list(pool.map(sync_folders, ([folder] for folder in touched)))
            list(pool.map(lambda plan: keep_entry(plan.entry, manifest=plan.one.manifest, store=self.store), done))

    def _pretended(self) -> PretendedHands:
        return PretendedHands(store=self.store, listing=self._thought.listing)

    def _shelf(self, one: FiledEntry, hands: Hands, *, world: "_World") -> Shelf:
        return Shelf(store=self.store, song=one.song, claims=one.claims, hands=hands, trusting=True, left=world.left)

    def _place(
        self,
        one: FiledEntry,
        shelf: Shelf,
        *,
        deliveries: Sequence[Delivery],
        chosen: Mapping[str, Slot] | None = None,
    ) -> tuple[LibraryEntry, tuple[str, ...]]:
        placed = shelf.place_all(deliveries, chosen=chosen)
        placed += shelf.place_fixed(wanted_lyrics(placed, one=one))
        placed += shelf.place_fixed(moved_covers(placed, one=one, shelf=shelf))
        shelf.remove_all_but(placed)
        entry = one.entry.model_copy(update={"files": (*placed, *shelf.missing)})
        return entry, tuple(f"{item.root}/{item.file.path}" for item in shelf.missing)


@dataclass(frozen=True, slots=True)
class _World:
    """The library as it is, or as it would be: what folders hold, and covers whose own songs have left."""

    listing: Listing = field(default_factory=Listing)
    left: dict[Path, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Plan:
    """What is to be done with one song, and what it comes to."""

    one: FiledEntry
    deliveries: Sequence[Delivery]
    entry: LibraryEntry
    announced: Mapping[str, FileRecord]
    result: Rearranged

    def announce(self) -> None:
        """Keep what the song is about to have, should this process die."""
        self.one.claims.announce(self.announced)


def _tell(one: FiledEntry) -> Rearranged:
    return Rearranged(one.song, one.manifest.user_id, one.metadata.title, files=one.entry.files)


def _crowded(wanted: Sequence[str], *, deliveries: Sequence[Delivery]) -> bool:
    """Return whether a file would become a copy ``(2)`` that it is not yet."""
    pairs = zip(wanted, deliveries, strict=True)
    return any(path != item.earlier and fold(path) != fold(item.path(1)) for path, item in pairs)


def _moves(before: Sequence[EntryFile], after: Sequence[EntryFile]) -> tuple[Move, ...]:
    """Return what differs, covers of one root in their order."""
    rest: dict[tuple[str, str, str], list[str]] = {}
    for item in before:
        rest.setdefault((item.role, item.name, item.root), []).append(item.file.path)
    moves = []
    for item in after:
        key = (item.role, item.name, item.root)
        earlier = rest.get(key, [])
        if item.file.path in earlier:
            earlier.remove(item.file.path)
            continue
        moves.append(Move(*key, before=earlier.pop(0) if earlier else None, after=item.file.path))
    gone = [Move(*key, before=path, after=None) for key, paths in rest.items() for path in paths]
    return (*moves, *gone)
