"""Erasing: carries out deletions, from request to receipt, in steps that can be killed anywhere and done again.

Every step removes what it finds and is happy where nothing is left; the ledger's rows, which tell where to look, go
last. What only the scheduler knows is handed in as `Elsewhere`, so that nothing here knows who that is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from ironclad_assets.errors import IroncladError
from ironclad_assets.ledger.deletions import Deletion
from ironclad_assets.ledger.forget import Traces
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.worker import is_alive
from ironclad_assets.lookup.policy import state_path
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.backup.places import reached_folders
from ironclad_assets.upkeep.erase import tombstones
from ironclad_assets.upkeep.erase.caches import erase_answers, erase_covers
from ironclad_assets.upkeep.erase.library import erase_entry, erase_marked, library_paths
from ironclad_assets.upkeep.erase.names import Names
from ironclad_assets.upkeep.erase.payloads import read_payload
from ironclad_assets.upkeep.erase.store import erase_hidden, erase_put_aside, erase_song_files, erase_uploads_of
from ironclad_assets.upkeep.erase.tally import Tally, remove_path
from ironclad_assets.upkeep.erase.text import erase_from_folder
from ironclad_assets.upkeep.reachable import require_reachable
from ironclad_assets.upkeep.upgrades import FOLDER as UPGRADES

QUIET_S = 35.0
"""How long after a song's last doings others may still write of it: services note what ended within half a minute."""

SONGS_AT_ONCE = 500
"""Songs that are looked for together: every log and note is read once for so many."""


class Elsewhere(Protocol):
    """Where traces are that only somebody else can reach: the scheduler's runs, events, partitions and notes."""

    def quieten(self, traces: Sequence[Traces]) -> str:
        """End what is still meant to run about the songs; return why that takes a while, or nothing."""

    def ids(self, traces: Sequence[Traces]) -> frozenset[str]:
        """Return ids by which the songs are known there, besides those of the ledger."""

    def erase(self, traces: Sequence[Traces], *, names: Names, tally: Tally) -> None:
        """Remove everything about the songs, and everything that names one of `names`."""

    def compact(self) -> None:
        """Let no deleted row remain readable there."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a pass came to: the deletions that are done now, and why the others are not, by receipt.

    `failed`: those of the others for which something has to be mended first.
    """

    done: tuple[str, ...]
    waiting: dict[str, str]
    failed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Eraser:
    """Everything that deletions of one installation need.

    `alone`: nothing else of the installation runs, so nobody writes meanwhile.
    """

    settings: Settings
    ledger: Ledger
    store: Store
    elsewhere: Elsewhere
    alone: bool

    def work(self) -> Progress:
        """Carry on with every deletion that is not done; what is in the way of one keeps no other waiting.

        Raises:
            StorageUnavailable: the store or a database is away; the requests stay, and nothing was taken for gone.
        """
        chosen = self.ledger.deletions.open()
        if not chosen:
            return Progress((), {})
        require_reachable(self.store)
        tombstones.publish(self.store, self.ledger)
        for folder in reached_folders(self.settings):
            tombstones.publish_beside(folder, self.ledger)
        waiting: dict[str, str] = {}
        failed: set[str] = set()
        for one in chosen:
            try:
                why = self._erase(one)
            except (IroncladError, ValueError, OSError) as error:
                require_reachable(self.store)
                why = error.describe() if isinstance(error, IroncladError) else f"{type(error).__name__}: {error}"
                failed.add(one.receipt)
            if why:
                waiting[one.receipt] = why
        ended = [one for one in chosen if one.receipt not in waiting]
        if ended:
            self.ledger.deletions.compact()
            self.elsewhere.compact()
        for one in ended:
            self.ledger.deletions.finish(one.receipt)
        return Progress(tuple(one.receipt for one in ended), waiting, frozenset(failed))

    def _erase(self, deletion: Deletion) -> str:
        """Remove everything that the deletion is about; return what it waits for, or nothing."""
        why = ""
        users = (deletion.subject,) if deletion.kind == "user" and deletion.subject else ()
        for some in _in_parts(self.ledger.deletions.traces(deletion)):
            why = self._erase_songs(some, deletion=deletion) or why
        if why:
            return why
        tally = Tally()
        for user_id in users:
            self._erase_user(user_id, deletion=deletion, tally=tally)
        self.ledger.deletions.forget_subject(deletion.receipt, removed=tally.removed)
        return ""

    def _erase_songs(self, traces: Sequence[Traces], *, deletion: Deletion) -> str:
        why = self._not_quiet(traces) or self.elsewhere.quieten(traces)
        if why:
            return why
        tally = Tally()
        facts = [read_payload(self.store, song=one.song, stage="song_metadata") for one in traces]
        paths = {path for one in traces for path in library_paths(self.store, song=one.song)}
        names = Names.of(traces, phrases=paths).with_ids(self.elsewhere.ids(traces))
        erase_answers(state_path(self.settings), facts=facts, names=[one.original_name for one in traces], tally=tally)
        erase_covers(self.store, facts=facts, tally=tally)
        erase_put_aside(self.store, names=names, tally=tally)
        for one in traces:
            erase_entry(self.store, song=one.song, tally=tally)
        erase_marked(self.store, songs={one.song for one in traces}, tally=tally)
        self._erase_notes(names, tally=tally)
        self.elsewhere.erase(traces, names=names, tally=tally)
        for one in traces:
            erase_song_files(one, store=self.store, ledger=self.ledger, tally=tally)
        erase_hidden(traces, store=self.store, tally=tally)
        self._erase_notes(names, tally=tally)  # what was written meanwhile
        self.ledger.deletions.forget_songs(
            [one.song for one in traces], receipt=deletion.receipt, removed=tally.removed
        )
        return ""

    def _erase_user(self, user_id: str, *, deletion: Deletion, tally: Tally) -> None:
        """Remove what names the user and is not about a song."""
        default_user = self.settings.default_user
        erase_uploads_of(self.store, user_id, deletion=deletion, default_user=default_user, tally=tally)
        names = Names(ids=frozenset(), users=frozenset((user_id,)))
        self._erase_notes(names, tally=tally)
        self.elsewhere.erase([], names=names, tally=tally)
        self.ledger.deletions.forget_user(user_id, before=deletion.requested_at, receipt=deletion.receipt)

    def _erase_notes(self, names: Names, *, tally: Tally) -> None:
        """Take the names out of everything that people and processes read: logs, and notes between processes."""
        for folder in (self.settings.home_dir / "logs", self.store.path("logs"), self.settings.home_dir / "run"):
            erase_from_folder(folder, names=names, tally=tally, kind="logs")
        for copy in sorted((self.settings.home_dir / UPGRADES).rglob("*")):
            # Of the ledger, which cannot be changed and stay a copy of it; somebody may have sorted them into folders.
            content = copy.read_bytes() if copy.is_file() else b""
            if names.find_ids(content) or (names.users and names.find(content)):
                remove_path(copy, tally=tally, kind="ledger_copies")

    def _not_quiet(self, traces: Sequence[Traces]) -> str:
        """Return why the songs are not at rest yet, as the ledger sees it, or nothing."""
        busy = {one.song: one for one in traces if one.busy}
        if busy:
            for job, worker in self.ledger.running_jobs():
                if job.song in busy and not is_alive(worker):
                    self.ledger.canceled(job.job_uuid, actor="eraser")
            return f"{len(busy)} jobs are still stopping"
        if self.alone:
            return ""
        now = datetime.now(UTC)
        for one in traces:
            since = max(one.changed_at, one.dispatched_at or "")
            if 0.0 <= (now - datetime.fromisoformat(since)).total_seconds() < QUIET_S:
                return "others may still write about what ended a moment ago"
        return ""


def _in_parts(traces: Sequence[Traces]) -> Iterator[Sequence[Traces]]:
    for start in range(0, len(traces), SONGS_AT_ONCE):
        yield traces[start : start + SONGS_AT_ONCE]
