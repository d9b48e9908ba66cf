"""The stems on disk while they grow: append, make durable, cut back on resume, give the final name.

A growing stem is called ``<stem>.f32.part``; ``<stem>.f32`` exists only when it is whole.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ironclad_harness.engine import Samples
from ironclad_harness.protocol import BYTES_PER_SAMPLE, sync_folder

SUFFIX = ".f32"
PARTIAL_SUFFIX = ".f32.part"


class StemFiles:
    """One raw float32 file per stem in `folder`, all of the same length."""

    def __init__(self, folder: Path, *, stems: Sequence[str], channels: int) -> None:
        self._folder = folder
        self._stems = tuple(stems)
        self._frame_bytes = channels * BYTES_PER_SAMPLE
        self._descriptors: list[int] = []

    def can_resume(self, frames: int) -> bool:
        """Return whether there are at least `frames` frames of every stem."""
        return all(self._stored_bytes(stem) >= frames * self._frame_bytes for stem in self._stems)

    def open(self, *, frames: int) -> None:
        """Open the growing stems, cut back to `frames` frames."""
        for stem in self._stems:
            # A worker that was killed while it gave out the final names goes on from here.
            if self._final(stem).exists():
                self._final(stem).rename(self._growing(stem))
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self._growing(stem), flags, 0o644)
            self._descriptors.append(descriptor)
            os.ftruncate(descriptor, frames * self._frame_bytes)

    def append(self, y: Samples) -> None:
        """Append frames, shape (stems, channels, frames)."""
        for descriptor, stem in zip(self._descriptors, y, strict=True):
            view = np.ascontiguousarray(stem.T, dtype="<f4").data.cast("B")
            while view:
                view = view[os.write(descriptor, view) :]

    def sync(self) -> None:
        """Make everything appended so far durable."""
        for descriptor in self._descriptors:
            os.fdatasync(descriptor)

    def finish(self) -> None:
        """Give every stem its final name."""
        self.sync()
        self.close()
        for stem in self._stems:
            self._growing(stem).rename(self._final(stem))
        sync_folder(self._folder)

    def close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()

    def remove(self) -> None:
        """Remove whatever there is of the stems."""
        self.close()
        for stem in self._stems:
            self._growing(stem).unlink(missing_ok=True)
            self._final(stem).unlink(missing_ok=True)

    def _growing(self, stem: str) -> Path:
        return self._folder / f"{stem}{PARTIAL_SUFFIX}"

    def _final(self, stem: str) -> Path:
        return self._folder / f"{stem}{SUFFIX}"

    def _stored_bytes(self, stem: str) -> int:
        return max(
            (path.stat().st_size for path in (self._growing(stem), self._final(stem)) if path.is_file()), default=0
        )
