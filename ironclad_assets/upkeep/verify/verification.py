"""Verifying the whole store, or a part of it: every manifest against every file, and the ledger against both.

A song that is being worked on is left for the next time, also where its work began while it was read. What was found
is kept for `prune --kind corrupt`.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ironclad_assets.contracts.v1.base import SONG_PATTERN
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.sweeps import SweptSong
from ironclad_assets.settings import Settings
from ironclad_assets.storage.hashing import BLOCK_BYTES
from ironclad_assets.storage.sealed import check_seal
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.findings import Finding, FindingCode, found, keep_findings
from ironclad_assets.upkeep.prune.guard import require_store
from ironclad_assets.upkeep.prune.orphans import NOTE, batches, song_folders
from ironclad_assets.upkeep.prune.plan import names_in
from ironclad_assets.upkeep.verify.archive import check_archive
from ironclad_assets.upkeep.verify.library import check_entry_files, check_marked_files
from ironclad_assets.upkeep.verify.song import check_song

MOST_KEPT = 10_000
"""Findings that are kept for mending; where there are more, the store as a whole needs a look."""


@dataclass(frozen=True, slots=True)
class Part:
    """Part `number` of `parts`, counted from 1: songs and originals are divided by their names, always the same way."""

    number: int = 1
    parts: int = 1

    def has(self, name: str) -> bool:
        """Return whether this part is the one of that name."""
        digest = hashlib.sha256(name.encode(errors="surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % self.parts == self.number - 1


@dataclass(slots=True)
class Verified:
    """What verifying came to: findings (at most `MOST_KEPT` of them kept), and how much was looked at."""

    findings: list[Finding] = field(default_factory=list)
    found: int = 0
    songs: int = 0
    busy: int = 0
    bytes_read: int = 0


Tell = Callable[[Verified], None]


@dataclass(slots=True)
class Verification:
    """One pass over a store. `tell` hears of progress, about once for each mebibyte that was read."""

    store: Store
    ledger: Ledger
    settings: Settings
    part: Part = field(default_factory=Part)
    song: str | None = None
    tell: Tell = lambda verified: None
    verified: Verified = field(default_factory=Verified)

    def run(self) -> Verified:
        """Read everything, keep what was found, and return it.

        Raises:
            StorageUnavailable: the store is away or another one.
            PermanentFailure: `UNKNOWN_SONG`.
        """
        require_store(self.store, self.settings)
        for finding in self._one_song(self.song) if self.song is not None else self._everything():
            self.verified.found += 1
            if len(self.verified.findings) < MOST_KEPT:
                self.verified.findings.append(finding)
        keep_findings(self.settings, self.verified.findings)
        return self.verified

    def _one_song(self, name: str) -> Iterator[Finding]:
        song = self.ledger.song(name)
        one = self.ledger.sweeps.find([song.song])[song.song]
        yield from self._song(one)
        chosen = song.sha256
        yield from check_archive(self.store, self.ledger, chosen=lambda sha256: sha256 == chosen, heed=self._heed)

    def _everything(self) -> Iterator[Finding]:
        for one in self.ledger.sweeps.songs():
            if self.part.has(one.song):
                yield from self._song(one)
        yield from check_archive(self.store, self.ledger, chosen=self.part.has, heed=self._heed)
        yield from check_marked_files(self.store, self.ledger, chosen=self.part.has)
        for folder in song_folders(self.store):
            yield from self._told(self._strangers(folder))
        yield from self._told(self._orphan_notes())

    def _song(self, one: SweptSong) -> Iterator[Finding]:
        """Yield what is wrong with a song, unless somebody works on it or began to meanwhile."""
        self.verified.songs += 1
        if one.state.active:
            self.verified.busy += 1
            return
        findings = list(self._told(self._found_in(one), song=one.song))
        if findings and self.ledger.sweeps.find([one.song]).get(one.song) != one:
            self.verified.busy += 1
            return
        yield from findings

    def _found_in(self, one: SweptSong) -> Iterator[Finding]:
        yield from check_song(one, store=self.store, ledger=self.ledger, heed=self._heed)
        yield from check_entry_files(one.song, store=self.store, heed=self._heed)

    def _told(self, findings: Iterator[Finding], *, song: str = "") -> Iterator[Finding]:
        """Yield findings; what cannot be looked at is one and ends them, unless the store went away.

        Raises:
            StorageUnavailable: it did.
        """
        try:
            yield from findings
        except OSError as error:
            require_store(self.store, self.settings)
            path = os.path.relpath(os.fsdecode(error.filename or self.store.root), self.store.root)
            yield found(FindingCode.FILE_DAMAGED, path, f"it cannot be read: {error.strerror}", song=song)

    def _strangers(self, folder: str) -> Iterator[Finding]:
        """Yield what is named after songs that the ledger does not know."""
        for batch in batches(names_in(self.store.root / folder)):
            mine = [entry.name for entry in batch if self.part.has(entry.name) and not entry.name.startswith(".")]
            known = self.ledger.sweeps.known(name for name in mine if re.fullmatch(SONG_PATTERN, name))
            for name in mine:
                if name not in known:
                    yield found(FindingCode.ORPHANED, f"{folder}/{name}", "the ledger knows no such song", song="")

    def _orphan_notes(self) -> Iterator[Finding]:
        for entry in names_in(self.store.root / "orphaned"):
            note = self.store.root / "orphaned" / entry.name / NOTE
            if self.part.has(entry.name) and note.is_file():
                wrong = check_seal(note.read_bytes())
                if wrong:
                    yield found(FindingCode.NOTE_DAMAGED, f"orphaned/{entry.name}/{NOTE}", wrong)

    def _heed(self) -> None:
        self.verified.bytes_read += BLOCK_BYTES
        self.tell(self.verified)
