"""Samples to spectrum and back, as TensorFlow's `stft` and `inverse_stft` compute it for Spleeter.

Numpy alone, one channel at a time, so that channels and stems can be worked on by several threads.
"""

import numpy as np
from numpy.typing import NDArray

from ironclad_harness.engine import Samples
from ironclad_spleeter.configuration import FRAME, GAIN, MODEL_BINS, STEP

Spectrum = NDArray[np.complex64]

_PERIODIC_HANN = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)
ANALYSIS = (_PERIODIC_HANN * FRAME).astype(np.float32)
"""Shape (FRAME,); times FRAME because `to_spectrum` divides by it again, both exactly."""

SYNTHESIS = (_PERIODIC_HANN * GAIN).astype(np.float32)
"""Shape (FRAME,); after a Hann window on the way in, frames in steps of a quarter add up to one."""


def to_spectrum(y: Samples) -> Spectrum:
    """Return the spectrum of one channel, shape (frames, BINS), of samples of shape (segment_samples(frames),)."""
    frames = np.lib.stride_tricks.sliding_window_view(y, FRAME)[::STEP]
    # Undivided, numpy computes float32 in double precision, in three times the time (2.4.6).
    return np.fft.rfft(frames * ANALYSIS, norm="forward").astype(np.complex64, copy=False)


def apply_mask(spectrum: Spectrum, *, mask: Samples) -> Spectrum:
    """Return `spectrum` times `mask`, which goes on above the networks' band with its average over the band.

    Spleeter calls that ``mask_extension: average``: every frame's treble is shared as its band is, so the
    stems still sum to the mixture.

    Args:
        spectrum: shape (frames, BINS).
        mask: shape (frames, MODEL_BINS), in 0..1.
    """
    masked = np.empty_like(spectrum)
    np.multiply(spectrum[:, :MODEL_BINS], mask, out=masked[:, :MODEL_BINS])
    np.multiply(spectrum[:, MODEL_BINS:], mask.mean(axis=1, keepdims=True), out=masked[:, MODEL_BINS:])
    return masked


def to_samples(spectrum: Spectrum) -> Samples:
    """Return the samples of one channel, shape (segment_samples(frames),), of a spectrum (frames, BINS)."""
    frames = np.fft.irfft(spectrum, n=FRAME).astype(np.float32, copy=False)
    frames *= SYNTHESIS
    steps = FRAME // STEP
    blocks = np.zeros((len(frames) + steps - 1, STEP), dtype=np.float32)
    for step in range(steps):
        blocks[step : step + len(frames)] += frames[:, step * STEP : (step + 1) * STEP]
    return blocks.reshape(-1)
