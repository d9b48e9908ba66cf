"""What all encoders have in common: a context manager that takes blocks, and keeps or abandons its file.

The libraries that write the formats are in `lossless` and `lossy`.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from ironclad_assets.audio.honest_file import HonestFile
from ironclad_assets.audio.resample import Samples


class Encoder(ABC):
    """An audio file being written; a context manager that abandons the file where an error passes through it.

    Attributes:
        frames: how many were added.
        clipped: how many samples were beyond full scale and cut to it.
    """

    def __init__(self, path: Path, *, clips: bool) -> None:
        self._raw = HonestFile(path)
        self._clips = clips
        self.frames = 0
        self.clipped = 0

    def add(self, y: npt.NDArray[np.float32]) -> None:
        """Append a block, shape (channels, frames), full scale 1.0; all but float formats cut what is beyond."""
        block = np.ascontiguousarray(y.T, dtype=np.float32)
        if self._clips and block.size and max(float(block.max()), -float(block.min())) > 1.0:
            self.clipped += int(np.count_nonzero(np.abs(block) > 1.0))
            block = np.clip(block, -1.0, 1.0)
        try:
            self._write(block)
        finally:
            self._raw.raise_error()
        self.frames += block.shape[0]

    def close(self) -> None:
        """Finish the file and make it durable."""
        try:
            self._end()
            self._raw.raise_error()
            self._amend(self._raw)
            self._raw.raise_error()
        except BaseException:
            self._raw.abandon()
            self._raw.raise_error()  # the disk's own words before the library's
            raise
        self._raw.finish()

    @abstractmethod
    def _write(self, block: Samples) -> None:
        """Encode a block of shape (frames, channels), C-contiguous."""

    @abstractmethod
    def _end(self) -> None:
        """Write what the library still holds, and let go of the file."""

    @abstractmethod
    def _give_up(self) -> None:
        """Let go of the file, whatever it holds; never raises."""

    @abstractmethod
    def _amend(self, file: HonestFile) -> None:
        """Correct the finished file where the library leaves something to be desired."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._give_up()
            self._raw.abandon()
