"""Power spectra of a stream at a lower rate, a few frames at a time, so that length costs no memory.

Frame *i* is centred on sample *i* x hop, as in librosa; silence stands before the start and after the end.
What is read from the spectra is the business of `analysis_rhythm` and `analysis_key`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ironclad_assets.audio.resample import Samples, StreamResampler

Power = npt.NDArray[np.float32]
"""Shape (bins, frames); the mean over the channels of their power, so that opposite phases do not cancel."""

_MOST_FRAMES = 256


@dataclass(frozen=True, slots=True)
class Grid:
    """Rate in Hz, length of a window and step from one to the next in samples."""

    rate_hz: int
    n_fft: int
    hop: int

    @property
    def frames_per_s(self) -> float:
        return self.rate_hz / self.hop


class PowerSpectra:
    """The short-time spectra of one stream, which is multiplied by `gain` first."""

    def __init__(self, grid: Grid, *, sr: int, channels: int, gain: float) -> None:
        self._grid = grid
        self._gain = np.float32(gain)
        self._resampler = StreamResampler(from_hz=sr, to_hz=grid.rate_hz, channels=channels)
        self._window = np.hanning(grid.n_fft + 1)[:-1].astype(np.float32)
        self._rest = np.zeros((channels, grid.n_fft // 2), dtype=np.float32)

    def add(self, y: Samples) -> Iterator[Power]:
        """Take the next block, shape (channels, frames), and yield what is ready."""
        yield from self._take(self._resampler.add(y.T * self._gain).T)

    def finish(self) -> Iterator[Power]:
        """Yield the rest."""
        yield from self._take(self._resampler.finish().T)
        yield from self._take(np.zeros((len(self._rest), self._grid.n_fft // 2), dtype=np.float32))

    def _take(self, y: Samples) -> Iterator[Power]:
        grid = self._grid
        joined = np.concatenate((self._rest, y), axis=1)
        count = max(0, (joined.shape[1] - grid.n_fft) // grid.hop + 1)
        if count:
            frames = np.lib.stride_tricks.sliding_window_view(joined, grid.n_fft, axis=1)[:, :: grid.hop][:, :count]
            for start in range(0, count, _MOST_FRAMES):
                yield self._power(frames[:, start : start + _MOST_FRAMES])
        self._rest = joined[:, count * grid.hop :].copy()

    def _power(self, frames: Samples) -> Power:
        """Return the power of windows of shape (channels, frames, n_fft)."""
        total: Power = np.zeros((self._grid.n_fft // 2 + 1, frames.shape[1]), dtype=np.float32)
        for channel in frames:
            spectrum = np.fft.rfft(channel * self._window, axis=1).T
            total += np.square(spectrum.real) + np.square(spectrum.imag)
        return total / np.float32(len(frames))
