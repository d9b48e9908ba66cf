"""How much a child fills the folders it may write to, measured from outside.

The kernel limits one file, not what many of them add up to. Folders are walked about once a second, so a child may
get a second's writing beyond its limit before it is ended.
"""

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

from ironclad_assets.errors import ErrorCode

MEBIBYTE = 1024**2
LOOK_S = 1.0


class Scratch:
    """The folders and files of one child, with what was in them when it began."""

    def __init__(self, places: Iterable[Path], *, most_bytes: int, look_s: float = LOOK_S) -> None:
        self._places = tuple(places)
        self._most_bytes = most_bytes
        self._look_s = look_s
        self._before_bytes = self._measure()
        self._looked_at = time.monotonic()

    def breach(self) -> tuple[ErrorCode, str] | None:
        """Return that the limit is broken, with a sentence naming the values, or None; cheap to ask often."""
        if not self._places or time.monotonic() - self._looked_at < self._look_s:
            return None
        return self.look()

    def look(self) -> tuple[ErrorCode, str] | None:
        """Measure now; return as `breach` does."""
        self._looked_at = time.monotonic()
        wrote_bytes = self._measure() - self._before_bytes
        if wrote_bytes <= self._most_bytes:
            return None
        wrote, allowed = wrote_bytes / MEBIBYTE, self._most_bytes / MEBIBYTE
        return ErrorCode.LIMIT_DISK, f"wrote {wrote:.1f} MiB; allowed are {allowed:.1f} MiB"

    def _measure(self) -> int:
        return sum(_size(place) for place in self._places)


def _size(place: Path) -> int:
    """Return the bytes that a file, or the files below a folder, take on disk; links are not followed."""
    total = 0
    with contextlib.suppress(OSError):
        if not place.is_dir():
            return _allocated(place.lstat())
        for folder, _, names in os.walk(place):
            for name in names:
                with contextlib.suppress(OSError):
                    total += _allocated(os.lstat(os.path.join(folder, name)))  # noqa: PTH118 - asked often
    return total


def _allocated(status: os.stat_result) -> int:
    return status.st_blocks * 512
