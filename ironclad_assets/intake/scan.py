"""Which files in the upload folder are complete (WATCH-001).

A full scan is the truth; events only make it quicker. A file is complete when its writer closed it or it was
moved in (an event that we saw), or when it has not changed for the settle time, and nobody has it open for
writing. A scan opens no file, however many wait: that is asked of a file whose turn it is. What happens to it
then is the business of `inbox` and `upload`.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from ironclad_assets.errors import ErrorCode, StorageUnavailable
from ironclad_assets.intake.closings import Closings
from ironclad_assets.intake.names import printable
from ironclad_assets.intake.source import Fingerprint, UploadChanged, Writers, find_writers, fingerprint, open_source
from ironclad_assets.intake.walk import Candidate, Ignored, walk_input
from ironclad_assets.settings import Settings
from ironclad_assets.storage import atomic
from ironclad_assets.storage.store import Store

LONG_S = 3600.0
"""How long a file may grow before the report says so."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that looks complete. `changed_ns` is when it came: the inode's last change, in ns since 1970."""

    path: Path
    user_id: str
    size_bytes: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What one scan saw, as pairs of a printable name below the upload folder and a reason.

    `ready` is in the order in which the files came; none of them was opened.
    """

    ready: tuple[FoundFile, ...]
    waiting: tuple[tuple[str, str], ...]
    ignored: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A file as it was at the monotonic time `since_s` and ever after; first seen at `first_s`."""

    state: tuple[Fingerprint, int, int]
    since_s: float
    first_s: float


class InputScanner:
    """Looks at the upload folder again and again and remembers what it saw."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._root = os.fsencode(store.input)
        self._settle_s = settings.settle_s
        self._default_user = settings.default_user
        self._closings = Closings()
        self._closed: set[bytes] = set()
        self._seen: dict[bytes, _Seen] = {}

    def scan(self, now_s: float) -> ScanReport:
        """Look at everything once.

        Args:
            now_s: monotonic time; the settle time is measured with it, so a clock jump changes nothing.

        Raises:
            StorageUnavailable: the upload folder is not there or cannot be read.
        """
        self._closed |= self._closings.read()
        ready: list[FoundFile] = []
        waiting: list[tuple[str, str]] = []
        ignored: list[Ignored] = []
        seen: dict[bytes, _Seen] = {}
        for entry in self._walk():
            if isinstance(entry, Ignored):
                ignored.append(entry)
                continue
            seen[entry.path] = self._look(entry, now_s=now_s)
            why = self._judge(entry, seen=seen[entry.path], now_s=now_s)
            if why is None:
                ready.append(_found(entry))
            else:
                waiting.append((self._show(entry.path), why))
        self._forget(seen)
        return ScanReport(
            ready=tuple(sorted(ready, key=lambda found: (found.changed_ns, found.path))),
            waiting=tuple(waiting),
            ignored=tuple((self._show(entry.path), entry.why) for entry in ignored),
        )

    def check(self, found: FoundFile, now_s: float) -> None:
        """Open a file that the last scan found ready, to see that it is as it was and that nobody writes to it.

        Raises:
            Refusal: `UNREADABLE`: it cannot be opened.
            UploadChanged: it has to wait; the message says why.
        """
        seen = self._seen[os.fsencode(found.path)]
        with open_source(found.path, below=Path(os.fsdecode(self._root))) as descriptor:
            if fingerprint(os.fstat(descriptor)) != seen.state[0]:
                raise UploadChanged("changed a moment ago")
            writers = find_writers(descriptor)
        if writers is Writers.SOME:
            raise UploadChanged("open for writing, or locked")
        if writers is Writers.UNKNOWN and not self._has_settled(seen, now_s=now_s):
            raise UploadChanged("writers unknown, waiting for it to settle")

    def wait(self, timeout_s: float) -> None:
        """Return when something happened in the upload folder, or after `timeout_s` seconds."""
        self._closings.wait(timeout_s)

    def close(self) -> None:
        """Stop listening to the kernel."""
        self._closings.close()

    def _walk(self) -> list[Candidate | Ignored]:
        try:
            return list(walk_input(self._root, default_user=self._default_user, enter=self._enter))
        except OSError as error:
            root = Path(os.fsdecode(self._root))
            if isinstance(error, FileNotFoundError):
                raise StorageUnavailable(f"{root} is missing; make it again", code=ErrorCode.STORAGE_AWAY) from error
            raise atomic.storage_error(error, root) from error

    def _enter(self, folder: bytes, inode: int) -> None:
        self._closings.watch(folder, inode=inode)

    def _look(self, entry: Candidate, *, now_s: float) -> _Seen:
        """Return since when the file has been as it is."""
        state = (fingerprint(entry.status), entry.status.st_ctime_ns, entry.status.st_nlink)
        before = self._seen.get(entry.path)
        if before is not None and before.state == state:
            return before
        return _Seen(state=state, since_s=now_s, first_s=before.first_s if before else now_s)

    def _judge(self, entry: Candidate, *, seen: _Seen, now_s: float) -> str | None:
        """Return None for a file that looks complete, or why it has to wait."""
        # A file of no bytes may be one that is about to be written, one of two names about to be one.
        closed = entry.path in self._closed and entry.status.st_size > 0 and entry.status.st_nlink == 1
        if closed or self._has_settled(seen, now_s=now_s):
            return None
        long = now_s - seen.first_s
        return f"growing for {long / 60:.0f} minutes" if long > LONG_S else "changed a moment ago"

    def _has_settled(self, seen: _Seen, *, now_s: float) -> bool:
        return now_s - seen.since_s >= self._settle_s

    def _forget(self, seen: dict[bytes, _Seen]) -> None:
        """Keep only what is known of files that are still there."""
        self._seen = seen
        self._closed &= seen.keys()

    def _show(self, path: bytes) -> str:
        """Return the path below the upload folder as one printable line."""
        return printable(path[len(self._root) + 1 :].decode("utf-8", errors="replace"))


def _found(entry: Candidate) -> FoundFile:
    return FoundFile(
        path=Path(os.fsdecode(entry.path)),
        user_id=entry.user_id,
        size_bytes=entry.status.st_size,
        changed_ns=entry.status.st_ctime_ns,
    )
