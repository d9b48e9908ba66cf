"""The upload folder's door: what a tick takes in, within its time.

Users take turns, and the files of each come in the order in which they arrived. A large one is copied a slice at
a time, over as many ticks as it needs, so that a tick stays short and others pass it. A file waits for those of
other users only while as many are copied as may be.
"""

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ironclad_assets.antivirus.clamd import Clamd
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import ErrorCode, IroncladError, StorageUnavailable
from ironclad_assets.intake.archive import sweep_abandoned
from ironclad_assets.intake.lyrics import SCAN_S, WAITS_FOR_SONG, LyricsDoor
from ironclad_assets.intake.names import display_name
from ironclad_assets.intake.refuse import refuse_file
from ironclad_assets.intake.scan import FoundFile, InputScanner
from ironclad_assets.intake.source import UploadChanged
from ironclad_assets.intake.upload import Delivery, NoRoom, UnreadRefusal, Upload, start_upload
from ironclad_assets.ledger.admission import WAIT_CODES
from ironclad_assets.ledger.registration import Registration
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store

DOOR = "folder"
ACTOR = "watcher"
SLICE_S = 1.0
"""How long one file is copied before the others get their turn."""

MOST_OPEN = 4
"""Large files that are copied side by side; of one user one less, so that there is a place for somebody else."""

RETRY_S = 30.0
"""How long a file that could not be taken is left alone."""


@dataclass(slots=True)
class Collected:
    """What one call did and saw; names are printable, reasons are for people."""

    taken: list[Registration] = field(default_factory=list)
    """Jobs of files that left the folder: new ones, duplicates, and refused ones (failed jobs)."""

    lyrics: list[tuple[str, str]] = field(default_factory=list)
    """Lyrics that left the folder, with the song they are kept for."""

    waiting: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Postponed:
    """A file that could not be taken, and is left alone until the monotonic time `until_s`.

    `waiting` tells a file that storage keeps waiting from one that is ignored for what it is.
    """

    found: FoundFile
    until_s: float
    why: str
    waiting: bool


class Inbox:
    """Takes in what is complete in the upload folder. One per process; calls exclude each other."""

    def __init__(self, *, ledger: Ledger, store: Store, settings: Settings) -> None:
        self._ledger = ledger
        self._store = store
        self._settings = settings
        self._scanner = InputScanner(store, settings)
        clamd = Clamd(settings.clamd_address, min(settings.clamd_timeout_s, SCAN_S)) if settings.clamd_address else None
        self._lyrics = LyricsDoor(ledger=ledger, store=store, clamd=clamd)
        self._open: dict[Path, Upload] = {}
        self._postponed: dict[Path, _Postponed] = {}
        self._waiting_users: dict[str, tuple[float, str]] = {}
        self._served_s: dict[str, float] = {}
        self._full = False
        self._lock = threading.Lock()
        self._swept = False

    def collect(self, *, budget_s: float) -> Collected:
        """Take in complete files for about `budget_s` seconds (at most one block of a file longer).

        Raises:
            StorageUnavailable: the store cannot take anything now; nothing is lost. What it cannot take for
                one file's sake lets only that file wait.
        """
        with self._lock:
            self._require_store()
            if not self._swept:
                sweep_abandoned(self._store)
                self._swept = True
            report = self._scanner.scan(time.monotonic())
            deadline = time.monotonic() + budget_s  # whatever the look took: else a full folder would let nothing in
            done = Collected(waiting=list(report.waiting), ignored=list(report.ignored))
            ready = {found.path: found for found in report.ready}
            for path in [path for path in self._open if path not in ready]:
                self._drop(path)  # it changed or went away under the copy
            self._postponed = {path: one for path, one in self._postponed.items() if ready.get(path) == one.found}
            users = {found.user_id for found in report.ready}
            self._served_s = {user_id: at_s for user_id, at_s in self._served_s.items() if user_id in users}
            now_s, self._full = time.monotonic(), False
            due = [found for found in report.ready if not self._rests(found, now_s=now_s, done=done)]
            for found in _alternate(due, served_s=self._served_s):
                self._turn(found, deadline=deadline, done=done)
            while self._open and time.monotonic() < deadline:
                for path in list(self._open):
                    self._turn(ready[path], deadline=deadline, done=done)
            done.waiting += [(display_name(path.name), "being copied") for path in self._open]
            return done

    def wait(self, timeout_s: float) -> None:
        """Return when something happened in the upload folder, or after `timeout_s` seconds."""
        self._scanner.wait(timeout_s)

    def close(self) -> None:
        """Let go of everything that is half copied; the files stay where they are."""
        with self._lock:
            for path in list(self._open):
                self._drop(path)
            self._scanner.close()

    def _turn(self, found: FoundFile, *, deadline: float, done: Collected) -> None:
        """Give one file its slice of time; a file that cannot be taken is left for a while."""
        now_s = time.monotonic()
        name = display_name(found.path.name)
        if self._rests(found, now_s=now_s, done=done):
            return
        if now_s >= deadline or not self._has_place(found):
            if found.path not in self._open:
                done.waiting.append((name, "next tick"))
            return
        self._served_s[found.user_id] = now_s
        registration = None
        try:
            self._scanner.check(found, now_s)
            if self._lyrics.concerns(found):
                self._take_lyrics(found, done=done)
            else:
                registration = self._carry(found, deadline=min(deadline, now_s + SLICE_S))
        except (NoRoom, UploadChanged) as error:
            # Finding out costs next to nothing: tried again at every look.
            self._drop(found.path)
            done.waiting.append((name, error.detail))
        except StorageUnavailable as error:
            self._drop(found.path)
            self._require_store()
            self._postpone(found, why=error.describe(), waiting=True, done=done)
        except IroncladError as error:
            self._drop(found.path)
            if error.code in WAIT_CODES:
                self._let_wait(found, error=error, done=done)
            else:
                waiting = error.code is ErrorCode.SCANNER_AWAY
                self._postpone(found, why=error.describe(), waiting=waiting, done=done)
        except OSError as error:  # such as from another file system into the quarantine
            self._drop(found.path)
            self._require_store()
            self._postpone(found, why=f"cannot be taken: {error.strerror or error}", waiting=False, done=done)
        else:
            if registration is not None:
                done.taken.append(registration)

    def _has_place(self, found: FoundFile) -> bool:
        """Return whether the file is being copied or may be.

        Once a look found all places taken, none that gets free is given away before the next, which begins with
        whoever waited longest: else it would go to whose turn happens to be next.
        """
        if found.path in self._open:
            return True
        self._full = self._full or len(self._open) >= MOST_OPEN
        mine = sum(1 for upload in self._open.values() if upload.user_id == found.user_id)
        return not self._full and mine < MOST_OPEN - 1

    def _rests(self, found: FoundFile, *, now_s: float, done: Collected) -> bool:
        """Return, and say in `done`, whether a file or all of its user's are left alone for now, unopened."""
        if found.path in self._open:
            return False
        known = self._postponed.get(found.path)
        if known is not None and now_s < known.until_s and not self._lyrics.knows(found.path):
            (done.waiting if known.waiting else done.ignored).append((display_name(found.path.name), known.why))
            return True
        until_s, why = self._waiting_users.get(found.user_id, (0.0, ""))
        if now_s < until_s:
            done.waiting.append((display_name(found.path.name), why))
        return now_s < until_s

    def _take_lyrics(self, found: FoundFile, *, done: Collected) -> None:
        """Keep lyrics for their song, or let them wait for it; malware goes where that in a song does."""
        try:
            song = self._lyrics.take(found)
        except UnreadRefusal as refusal:
            done.taken.append(self._refuse(found, refusal))
            return
        if song is None:
            self._postpone(found, why=WAITS_FOR_SONG, waiting=True, done=done)
        else:
            done.lyrics.append((display_name(found.path.name), song))

    def _refuse(self, found: FoundFile, refusal: UnreadRefusal) -> Registration:
        """Move a file to the quarantine; return the failed job that says why."""
        return refuse_file(
            found.path,
            status=refusal.status,
            error=refusal,
            ledger=self._ledger,
            store=self._store,
            user_id=found.user_id,
            options=JobOptions(),
            door=DOOR,
            actor=ACTOR,
            below=self._store.input,
        )

    def _let_wait(self, found: FoundFile, *, error: IroncladError, done: Collected) -> None:
        """Leave a file where it is until there is room for its user; it is not the file's fault."""
        retry_s = min(getattr(error, "retry_after_s", None) or RETRY_S, RETRY_S)
        if error.code is not ErrorCode.QUOTA_EXCEEDED:  # then a smaller file may fit; anything else is about them all
            self._waiting_users[found.user_id] = (time.monotonic() + retry_s, error.describe())
        self._postpone(found, why=error.describe(), waiting=True, done=done, retry_s=retry_s)

    def _postpone(
        self, found: FoundFile, *, why: str, waiting: bool, done: Collected, retry_s: float = RETRY_S
    ) -> None:
        self._postponed[found.path] = _Postponed(found, time.monotonic() + retry_s, why, waiting)
        (done.waiting if waiting else done.ignored).append((display_name(found.path.name), why))

    def _require_store(self) -> None:
        """Raise unless the store can take files; half copies are let go of then, as they may be what fills it."""
        try:
            self._store.require_ready()
        except StorageUnavailable:
            for path in list(self._open):
                with suppress(OSError):  # a store that is read-only keeps them until it is swept
                    self._drop(path)
            raise

    def _carry(self, found: FoundFile, *, deadline: float) -> Registration | None:
        """Start or continue one upload; return its registration once it is in."""
        upload = self._open.get(found.path)
        if upload is None:
            self._require_staying(found.user_id)
            delivery = Delivery(
                user_id=found.user_id, options=JobOptions(), door=DOOR, actor=ACTOR, below=self._store.input
            )
            started = start_upload(
                found.path,
                delivery=delivery,
                ledger=self._ledger,
                store=self._store,
                settings=self._settings,
                promised_bytes=sum(other.missing_bytes for other in self._open.values()),
            )
            if isinstance(started, Registration):
                return started
            upload = self._open[found.path] = started
        if not upload.advance(deadline):
            return None
        self._require_staying(found.user_id)
        registration = upload.finish()
        self._lyrics.remember(found.path, song=registration.job.song)
        self._drop(found.path)
        return registration

    def _require_staying(self, user_id: str) -> None:
        """Raise while the user is being deleted: what lay here before goes with it, what came since is taken after."""
        if self._ledger.deletions.is_leaving(user_id):
            raise UploadChanged(f"user {user_id!r} is being deleted")

    def _drop(self, path: Path) -> None:
        upload = self._open.pop(path, None)
        if upload is not None:
            upload.close()


def _alternate(due: Sequence[FoundFile], *, served_s: Mapping[str, float]) -> list[FoundFile]:
    """Return the files with users in turns, first whoever had none for longest; a user's own stay in their order."""
    rounds = Counter[str]()
    places = {}
    for found in due:
        places[found.path] = (rounds[found.user_id], served_s.get(found.user_id, 0.0))
        rounds[found.user_id] += 1
    return sorted(due, key=lambda found: places[found.path])
