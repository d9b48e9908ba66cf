"""Measure how loud a stream of audio is: ITU-R BS.1770-4 loudness, true peak, peak, RMS.

Everything is streamed and nothing of it depends on how the stream is cut into blocks beyond rounding. The
K-weighting runs as FFT convolution with its impulse response and true peak as a matrix product, which is
several times faster than recursive filters here and needs no SciPy.
"""

import math
from collections import deque
from functools import cache

import numpy as np
import numpy.typing as npt

from ironclad_assets.audio.resample import Samples

_ABSOLUTE_GATE_LUFS = -70.0
_RELATIVE_GATE_LU = -10.0
_LOUDEST_LUFS = 30.0
_BIN_LU = 0.01
_OFFSET_LU = -0.691
_STEPS_PER_S = 10
_STEPS_PER_BLOCK = 4
_STEPS_PER_SHORT_TERM = 30
_RANGE_GATE_LU = -20.0
_RESPONSE_S = 0.11
"""After this long the impulse response of the K-weighting has fallen below -200 dB."""

_TAPS = 12
_TILE = 64
_GAIN_BOUND = 2.0
"""No interpolated sample exceeds the largest sample around it by more: 1.92 is the largest sum of |taps| of a phase."""


class LevelMeter:
    """Measures one stream of audio.

    Channels count equally, as BS.1770 has it for left and right (and mono).
    """

    def __init__(self, sample_rate_hz: int, channels: int) -> None:
        self._channels = channels
        self._loudness = _Loudness(sample_rate_hz, channels)
        self._true_peak = _TruePeak(sample_rate_hz, channels)
        self._squares = 0.0
        self.frames = 0
        self.peak = 0.0
        self.finite = True

    def add(self, y: Samples) -> None:
        """Take the next block, shape (channels, frames), full scale 1.0."""
        if not y.shape[1]:
            return
        y = np.ascontiguousarray(y, dtype=np.float32)
        peak = float(max(y.max(), -y.min()))
        self.frames += y.shape[1]
        if not math.isfinite(peak):
            self.finite = False
            y = np.nan_to_num(y, nan=0.0, posinf=0.0, neginf=0.0)
            peak = float(np.abs(y).max())
        self.peak = max(self.peak, peak)
        self._squares += sum(float(np.dot(row, row)) for row in y)
        self._loudness.add(y)
        self._true_peak.add(y)

    def result(self) -> dict[str, float | None]:
        """Return ``loudness_lufs``, ``true_peak_dbtp`` (None where silent), ``peak``, ``rms``. Call it once, last."""
        true_peak = max(self._true_peak.finish(), self.peak)
        values = self.frames * self._channels
        return {
            "loudness_lufs": self._loudness.result(),
            "true_peak_dbtp": 20.0 * math.log10(true_peak) if true_peak > 0.0 else None,
            "peak": self.peak,
            "rms": math.sqrt(self._squares / values) if values else 0.0,
        }


class LoudnessRangeMeter:
    """Measures the loudness range of one stream of audio (EBU Tech 3342): how far loud parts are from quiet ones."""

    def __init__(self, sample_rate_hz: int, channels: int) -> None:
        self._loudness = _Loudness(sample_rate_hz, channels, steps_per_block=_STEPS_PER_SHORT_TERM)

    def add(self, y: Samples) -> None:
        """Take the next block, shape (channels, frames), full scale 1.0, finite."""
        self._loudness.add(y)

    def result(self) -> float | None:
        """Return the range in LU, or None where the stream is shorter than 3 s or silent. Call it once, last."""
        self._loudness.result()
        return self._loudness.spread()


class _Loudness:
    """Energy of the K-weighted signal in steps of 100 ms, their blocks (of 400 ms), then the two gates."""

    def __init__(self, sample_rate_hz: int, channels: int, *, steps_per_block: int = _STEPS_PER_BLOCK) -> None:
        self._rate = sample_rate_hz
        self._steps_per_block = steps_per_block
        self._taps, self._size, self._response = _k_weighting(sample_rate_hz)
        self._steps_at_once = (self._size - self._taps - 1) * _STEPS_PER_S // sample_rate_hz
        self._history = np.zeros((channels, self._taps - 1), dtype=np.float32)
        self._held: list[npt.NDArray[np.float32]] = []
        self._held_frames = 0
        self._steps = 0
        self._recent: deque[float] = deque(maxlen=steps_per_block)
        self._blocks = _Blocks()

    def _edge(self, step: int) -> int:
        return step * self._rate // _STEPS_PER_S

    def add(self, y: Samples) -> None:
        self._held.append(y)
        self._held_frames += y.shape[1]
        while True:
            wanted = self._edge(self._steps + self._steps_at_once) - self._edge(self._steps)
            if self._held_frames < wanted:
                return
            joined = np.concatenate(self._held, axis=1) if len(self._held) > 1 else self._held[0]
            self._weigh(joined[:, :wanted], steps=self._steps_at_once)
            self._held = [joined[:, wanted:]]
            self._held_frames -= wanted

    def _weigh(self, y: Samples, *, steps: int) -> None:
        """Filter `y` by overlap-save and take the energy of each of its `steps` steps."""
        joined = np.concatenate((self._history, y), axis=1)
        weighted = np.fft.irfft(np.fft.rfft(joined, self._size) * self._response, self._size)
        weighted = weighted[:, self._taps - 1 : self._taps - 1 + y.shape[1]]
        self._history = joined[:, joined.shape[1] - (self._taps - 1) :]
        start = self._edge(self._steps)
        for _ in range(steps):
            part = weighted[:, self._edge(self._steps) - start : self._edge(self._steps + 1) - start]
            self._steps += 1
            self._recent.append(sum(float(np.dot(row, row)) for row in part))
            if len(self._recent) == self._steps_per_block:
                self._blocks.add(sum(self._recent) / (self._steps_per_block * self._rate / _STEPS_PER_S))

    def result(self) -> float | None:
        """Return integrated loudness in LUFS; audio shorter than one 400 ms block is measured as one."""
        if self._held:
            held = np.concatenate(self._held, axis=1)
            whole = self._steps
            while self._edge(whole + 1) - self._edge(self._steps) <= held.shape[1]:
                whole += 1
            self._weigh(held, steps=whole - self._steps)
            self._held = []
        if 0 < self._steps < self._steps_per_block:
            self._blocks.add(sum(self._recent) / self._edge(self._steps))
        return self._blocks.gated_loudness()

    def spread(self) -> float | None:
        """Return the range of the blocks in LU, or None where there was no whole block."""
        return self._blocks.gated_range() if self._steps >= self._steps_per_block else None


class _Blocks:
    """Power of the blocks of one song, in bins of 0.01 LU, so that ten hours take no more room than a minute.

    Each bin keeps the sum of what fell into it: only the relative gate is rounded to a bin, not the result.
    """

    def __init__(self) -> None:
        count = round((_LOUDEST_LUFS - _ABSOLUTE_GATE_LUFS) / _BIN_LU)
        self._sums = np.zeros(count)
        self._counts = np.zeros(count, dtype=np.int64)

    def add(self, power: float) -> None:
        """Take the mean square of a block; one at or below the absolute gate is left out."""
        if power > 0.0 and _lufs(power) > _ABSOLUTE_GATE_LUFS:
            index = min(int((_lufs(power) - _ABSOLUTE_GATE_LUFS) / _BIN_LU), len(self._sums) - 1)
            self._sums[index] += power
            self._counts[index] += 1

    def _first_bin(self, gate_lufs: float) -> int:
        """Return the bin of a gate; float samples can be louder than the last bin, which then holds all that is."""
        return min(max(0, math.floor((gate_lufs - _ABSOLUTE_GATE_LUFS) / _BIN_LU)), len(self._sums) - 1)

    def gated_loudness(self) -> float | None:
        """Return the loudness of the blocks above both gates, or None where none is loud enough."""
        count = int(self._counts.sum())
        if not count:
            return None
        gate = _lufs(float(self._sums.sum()) / count) + _RELATIVE_GATE_LU
        first = self._first_bin(gate)
        return _lufs(float(self._sums[first:].sum()) / int(self._counts[first:].sum()))

    def gated_range(self) -> float | None:
        """Return the LU between the 10th and the 95th percentile of the blocks above -20 LU, or None without any."""
        count = int(self._counts.sum())
        if not count:
            return None
        gate = _lufs(float(self._sums.sum()) / count) + _RANGE_GATE_LU
        first = self._first_bin(gate)
        ranks = np.cumsum(self._counts[first:])
        low, high = (int(np.searchsorted(ranks, share * ranks[-1])) for share in (0.10, 0.95))
        return (high - low) * _BIN_LU


def _lufs(power: float) -> float:
    return _OFFSET_LU + 10.0 * math.log10(power)


@cache
def _k_weighting(sample_rate_hz: int) -> tuple[int, int, npt.NDArray[np.complex64]]:
    """Return taps, FFT size and frequency response of the K-weighting, for overlap-save.

    The filters are those of BS.1770-4 annex 1, whose table is for 48 kHz, through their analogue prototypes
    (as in libebur128), so that they hold at any rate.
    """
    taps = int(_RESPONSE_S * sample_rate_hz)
    size = 1 << math.ceil(math.log2(1.3 * sample_rate_hz))
    exact = np.fft.irfft(_shelf(sample_rate_hz, size) * _high_pass(sample_rate_hz, size), size)
    response = np.zeros(size)
    response[:taps] = exact[:taps]
    return taps, size, np.fft.rfft(response).astype(np.complex64)


def _biquad(b: tuple[float, ...], a: tuple[float, ...], size: int) -> npt.NDArray[np.complex128]:
    z = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    return np.asarray(np.polyval(b[::-1], z) / np.polyval(a[::-1], z))


def _shelf(rate: int, size: int) -> npt.NDArray[np.complex128]:
    gain, q, k = 10.0 ** (3.999843853973347 / 20.0), 0.7071752369554196, math.tan(math.pi * 1681.974450955533 / rate)
    middle = gain**0.4996667741545416
    a0 = 1.0 + k / q + k * k
    b = ((gain + middle * k / q + k * k) / a0, 2.0 * (k * k - gain) / a0, (gain - middle * k / q + k * k) / a0)
    return _biquad(b, (1.0, 2.0 * (k * k - 1.0) / a0, (1.0 - k / q + k * k) / a0), size)


def _high_pass(rate: int, size: int) -> npt.NDArray[np.complex128]:
    q, k = 0.5003270373238773, math.tan(math.pi * 38.13547087602444 / rate)
    a0 = 1.0 + k / q + k * k
    return _biquad((1.0, -2.0, 1.0), (1.0, 2.0 * (k * k - 1.0) / a0, (1.0 - k / q + k * k) / a0), size)


class _TruePeak:
    """Largest value of the signal between its samples (BS.1770-4 annex 2).

    The signal is interpolated four-fold (two-fold from 96 kHz on, not at all from 192 kHz) in tiles of 64
    samples; a tile that cannot exceed the peak found so far is left out.
    """

    def __init__(self, sample_rate_hz: int, channels: int) -> None:
        self._factor = 4 if sample_rate_hz < 96_000 else 2 if sample_rate_hz < 192_000 else 1
        self._matrix = _interpolation_matrix(self._factor) if self._factor > 1 else None
        self._rest = np.zeros((channels, _TAPS - 1), dtype=np.float32)
        self._largest = 0.0

    def add(self, y: Samples) -> None:
        if self._matrix is None:
            return
        joined = np.concatenate((self._rest, y), axis=1)
        tiles = (joined.shape[1] - (_TAPS - 1)) // _TILE
        for row in joined:
            self._scan(row, tiles=tiles)
        self._rest = joined[:, tiles * _TILE :]

    def _scan(self, row: npt.NDArray[np.float32], *, tiles: int) -> None:
        if not tiles or self._matrix is None:
            return
        windows = np.lib.stride_tricks.sliding_window_view(row, _TILE + _TAPS - 1)[::_TILE][:tiles]
        heights = np.abs(row[: tiles * _TILE].reshape(tiles, _TILE)).max(axis=1)
        following = np.append(heights[1:], np.abs(row[tiles * _TILE :]).max(initial=0.0))
        around = np.maximum(heights, following)
        self._largest = max(self._largest, float(heights.max()))
        chosen = np.flatnonzero(around * _GAIN_BOUND > self._largest)
        if len(chosen):
            between = windows[chosen] @ self._matrix
            self._largest = max(self._largest, float(between.max()), -float(between.min()))

    def finish(self) -> float:
        """Return the true peak, as a linear value."""
        channels = self._rest.shape[0]
        self.add(np.zeros((channels, _TILE + _TAPS), dtype=np.float32))
        return self._largest


@cache
def _interpolation_matrix(factor: int) -> npt.NDArray[np.float32]:
    """Return the matrix of shape (tile + taps - 1, tile * (factor - 1)) that interpolates one tile.

    Its columns are a Kaiser-windowed sinc of 12 taps per phase, as long as the filter in BS.1770-4.
    """
    half = _TAPS // 2
    matrix = np.zeros((_TILE + _TAPS - 1, _TILE * (factor - 1)), dtype=np.float32)
    for phase in range(1, factor):
        at = np.arange(_TAPS) - (half - 1) - phase / factor
        window = np.i0(5.0 * np.sqrt(np.clip(1.0 - (at / half) ** 2, 0.0, 1.0))) / np.i0(5.0)
        taps = np.sinc(at) * window
        taps /= taps.sum()
        for index in range(_TILE):
            matrix[index : index + _TAPS, (phase - 1) * _TILE + index] = taps
    return matrix
