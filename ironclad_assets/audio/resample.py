"""Change the sample rate of a stream of blocks, with an output length that is exact to the sample.

Wraps soxr (HQ, linear phase), which removes its own delay but leaves the rounding of the length to
circumstances. Rates and lengths only; channels belong to `downmix`.
"""

import numpy as np
import numpy.typing as npt
import soxr

Samples = npt.NDArray[np.float32]
"""Audio of shape (frames, channels), full scale 1.0: the layout of staged audio on disk."""


def resampled_frames(frames: int, *, from_hz: int, to_hz: int) -> int:
    """Return the length after resampling: frames * to_hz / from_hz, rounded half up, in exact integers."""
    return (2 * frames * to_hz + from_hz) // (2 * from_hz)


class StreamResampler:
    """Resamples block by block; the blocks joined are `resampled_frames` long."""

    def __init__(self, *, from_hz: int, to_hz: int, channels: int) -> None:
        self._rates = (from_hz, to_hz)
        self._channels = channels
        self._taken = 0
        self._given = 0
        self._stream = (
            None
            if from_hz == to_hz
            else soxr.ResampleStream(from_hz, to_hz, channels, dtype="float32", quality=soxr.HQ)
        )

    def add(self, y: Samples) -> Samples:
        """Take the next block, shape (frames, channels), and return what is ready (maybe nothing)."""
        self._taken += len(y)
        return self._bounded(self._pass(y, last=False))

    def finish(self) -> Samples:
        """Return the rest; the length is made exact here, by a few samples of silence or less."""
        empty = np.zeros((0, self._channels), dtype=np.float32)
        rest = self._bounded(self._pass(empty, last=True))
        missing = self._wanted() - self._given
        if missing:
            rest = np.concatenate((rest, np.zeros((missing, self._channels), dtype=np.float32)))
            self._given += missing
        return rest

    def _pass(self, y: Samples, *, last: bool) -> Samples:
        if self._stream is None:
            return y
        ready: Samples = self._stream.resample_chunk(np.ascontiguousarray(y, dtype=np.float32), last=last)
        return ready.reshape(-1, self._channels)

    def _wanted(self) -> int:
        return resampled_frames(self._taken, from_hz=self._rates[0], to_hz=self._rates[1])

    def _bounded(self, ready: Samples) -> Samples:
        """Cut what would go beyond the length that the frames taken so far call for."""
        ready = ready[: max(0, self._wanted() - self._given)]
        self._given += len(ready)
        return ready
