"""The transform by itself: it comes back exactly, and masks that sum to one leave the mixture whole."""

import numpy as np
import pytest

from ironclad_spleeter.configuration import BINS, FRAME, MODEL_BINS, STEP
from ironclad_spleeter.segments import segment_samples
from ironclad_spleeter.spectrum import apply_mask, to_samples, to_spectrum

FRAMES = 16


@pytest.fixture
def y() -> np.ndarray:
    return np.random.default_rng(1).standard_normal(segment_samples(FRAMES)).astype(np.float32)


def test_the_spectrum_is_the_fourier_transform_of_hann_windows(y: np.ndarray) -> None:
    window = np.hanning(FRAME + 1)[:-1]  # periodic
    expected = np.fft.rfft(y[3 * STEP : 3 * STEP + FRAME].astype(np.float64) * window)
    found = to_spectrum(y)
    assert found.shape == (FRAMES, BINS)
    assert found.dtype == np.complex64
    assert np.abs(found[3] - expected).max() < 1e-6 * np.abs(expected).max()


def test_samples_under_four_frames_come_back(y: np.ndarray) -> None:
    found = to_samples(to_spectrum(y))
    whole = slice(FRAME, -FRAME)
    assert found.dtype == np.float32
    assert np.abs(found[whole] - y[whole]).max() < 1e-6 * np.abs(y).max()


def test_neighbouring_segments_add_up_to_the_transform_of_the_whole(y: np.ndarray) -> None:
    half, step = FRAMES // 2, FRAMES // 2 * STEP
    first, second = y[: segment_samples(half)], y[step:]
    total = np.zeros_like(y)
    total[: len(first)] += to_samples(to_spectrum(first))
    total[step:] += to_samples(to_spectrum(second))
    assert np.allclose(total, to_samples(to_spectrum(y)), atol=1e-6)


def test_the_treble_is_shared_as_the_average_of_the_band(y: np.ndarray) -> None:
    spectrum = to_spectrum(y)
    mask = np.random.default_rng(2).random((FRAMES, MODEL_BINS), dtype=np.float32)
    masked = apply_mask(spectrum, mask=mask)
    assert np.allclose(masked[:, :MODEL_BINS], spectrum[:, :MODEL_BINS] * mask)
    treble = spectrum[:, MODEL_BINS:] * mask.mean(axis=1, keepdims=True)
    assert np.allclose(masked[:, MODEL_BINS:], treble)


def test_masks_that_sum_to_one_leave_nothing_over(y: np.ndarray) -> None:
    spectrum = to_spectrum(y)
    mask = np.random.default_rng(3).random((FRAMES, MODEL_BINS), dtype=np.float32)
    parts = [to_samples(apply_mask(spectrum, mask=each)).astype(np.float64) for each in (mask, 1 - mask)]
    whole = slice(FRAME, -FRAME)
    residual = (y - parts[0] - parts[1])[whole]
    assert 10 * np.log10((residual**2).sum() / (y[whole].astype(np.float64) ** 2).sum()) < -130
