"""The log of a job's workers: grows while they work, and never beyond a bound.

All attempts and workers of one job append to one file; when it is full, the middle is left out. The log is
there for people: one that cannot be written changes nothing.
"""

import contextlib
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

from ironclad_assets.errors import StorageUnavailable
from ironclad_assets.storage import atomic

MAX_BYTES = 64 * 1024
HEAD_BYTES = 8 * 1024
TAIL_BYTES = 24 * 1024
_LEFT_OUT = b"\n... the middle is left out ...\n"


class WorkerLog:
    """Appends to the file `path`, from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def note(self, line: str) -> None:
        """Append one line of our own, with the time."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.line(f"{now} {line}")

    def line(self, text: str) -> None:
        """Append one line, on a line of its own."""
        self.append(text.encode("utf-8", "replace") + b"\n")

    def append(self, content: bytes) -> None:
        """Append `content`, what a worker printed."""
        # Best effort: the log's disk may be the one that is full.
        with contextlib.suppress(OSError, StorageUnavailable), self._lock:
            if not self._path.parent.is_dir():
                atomic.make_folder(self._path.parent)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self._path, flags, 0o644)
            try:
                _write(descriptor, content[-MAX_BYTES:])
                if os.fstat(descriptor).st_size > MAX_BYTES:
                    _leave_out_the_middle(descriptor)
            finally:
                os.close(descriptor)


def _leave_out_the_middle(descriptor: int) -> None:
    tail = os.pread(descriptor, TAIL_BYTES, os.fstat(descriptor).st_size - TAIL_BYTES)
    os.ftruncate(descriptor, HEAD_BYTES)
    _write(descriptor, _LEFT_OUT + tail)


def _write(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
