"""Collects what a visualiser draws of one source: peak and RMS of equal steps of time, from a stream.

How many steps a song of a given length gets is decided here too, so that the file stays small for any length.
"""

import numpy as np

from ironclad_assets.audio.resample import Samples

MOST_POINTS = 72_000
"""Steps of one source: an hour at 20 a second."""

_RATES_HZ = (20, 10, 5, 2, 1)
_DIGITS = 4


def envelope_rate_hz(duration_s: float) -> int:
    """Return the steps per second for a song: 20, or fewer where that would be more than `MOST_POINTS`."""
    return next((rate for rate in _RATES_HZ if duration_s * rate <= MOST_POINTS), _RATES_HZ[-1])


class EnvelopeMeter:
    """Peak and RMS over all channels, of each step of ``1 / rate_hz`` seconds. The last step may be shorter."""

    def __init__(self, frames: int, *, sr: int, rate_hz: int) -> None:
        self._sr, self._rate = sr, rate_hz
        count = -(-frames * rate_hz // sr)
        self._edges = -(-np.arange(count + 1, dtype=np.int64) * sr // rate_hz)
        self._edges[-1] = frames
        self._peaks = np.zeros(count)
        self._squares = np.zeros(count)
        self._at = 0

    def add(self, y: Samples) -> None:
        """Take the next block, shape (channels, frames), finite; frames beyond those announced are left out."""
        y = y[:, : max(0, int(self._edges[-1]) - self._at)]
        if not y.shape[1]:
            return
        first = int(np.searchsorted(self._edges, self._at, side="right")) - 1
        last = int(np.searchsorted(self._edges, self._at + y.shape[1], side="left"))
        starts = np.maximum(self._edges[first:last] - self._at, 0)
        steps = slice(first, first + len(starts))
        peaks = np.maximum.reduceat(np.abs(y).max(axis=0), starts)
        self._peaks[steps] = np.maximum(self._peaks[steps], peaks)
        self._squares[steps] += np.add.reduceat(np.square(y, dtype=np.float64).mean(axis=0), starts)
        self._at += y.shape[1]

    def result(self) -> tuple[list[float], list[float]]:
        """Return peaks and RMS, rounded to 0.0001 of full scale."""
        lengths = np.maximum(np.diff(self._edges), 1)
        rms = np.sqrt(self._squares / lengths)
        return _rounded(self._peaks), _rounded(rms)


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), _DIGITS) for value in values]
