"""Short-time Fourier transform of a window of samples, and back. Constant overlap, so nothing is lost."""

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Spectrum = NDArray[np.complex64]

FRAME = 2048
HOP = 512
BINS = FRAME // 2 + 1
_PER_FRAME = FRAME // HOP

_WINDOW: Samples = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)).astype(np.float32)
_GAIN = np.float32(np.sum(_WINDOW[::HOP].astype(np.float64) ** 2))
"""Sum of the squared windows over any sample: constant for a Hann window with this hop."""


def to_spectrum(y: Samples) -> Spectrum:
    """Return the spectrum of `y`, shape (channels, frames), as (channels, steps, BINS).

    Step t is centred on sample ``t * HOP``; the steps reach past both ends, so that every sample is
    covered by as many windows as any other.
    """
    steps = -(-y.shape[1] // HOP) + _PER_FRAME - 1
    lead = FRAME - HOP
    padded = np.zeros((y.shape[0], (steps - 1) * HOP + FRAME), dtype=np.float32)
    padded[:, lead : lead + y.shape[1]] = y
    windows = np.lib.stride_tricks.sliding_window_view(padded, FRAME, axis=1)[:, ::HOP]
    return np.fft.rfft(windows * _WINDOW, axis=2).astype(np.complex64, copy=False)


def to_samples(spectrum: Spectrum, *, frames: int) -> Samples:
    """Return the samples of `spectrum`, shape (channels, steps, BINS), as (channels, frames)."""
    channels, steps, _ = spectrum.shape
    pieces = np.fft.irfft(spectrum, n=FRAME, axis=2).astype(np.float32, copy=False)
    pieces *= _WINDOW / _GAIN
    total = np.zeros((channels, steps + _PER_FRAME - 1, HOP), dtype=np.float32)
    for part in range(_PER_FRAME):
        total[:, part : part + steps] += pieces[:, :, part * HOP : (part + 1) * HOP]
    lead = FRAME - HOP
    return total.reshape(channels, -1)[:, lead : lead + frames]
