"""Resampling keeps the length exact and the sound where it was."""

import numpy as np
import pytest

from ironclad_assets.audio.resample import StreamResampler, resampled_frames
from tests import synth

RATES = [(44_100, 48_000), (48_000, 44_100), (96_000, 44_100), (8_000, 44_100), (44_100, 8_000), (11_025, 48_000)]


def resample(y: np.ndarray, *, from_hz: int, to_hz: int, block: int) -> np.ndarray:
    stream = StreamResampler(from_hz=from_hz, to_hz=to_hz, channels=y.shape[1])
    parts = [stream.add(y[start : start + block]) for start in range(0, len(y), block)]
    return np.concatenate([*parts, stream.finish()])


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES)
@pytest.mark.parametrize("frames", [1, 2, 101, 12_345, 100_000])
def test_length_is_exact(from_hz: int, to_hz: int, frames: int) -> None:
    """SPLIT-009."""
    y = np.ones((frames, 2), dtype=np.float32)
    out = resample(y, from_hz=from_hz, to_hz=to_hz, block=4096)
    assert len(out) == resampled_frames(frames, from_hz=from_hz, to_hz=to_hz)
    assert abs(len(out) - frames * to_hz / from_hz) <= 0.5


def test_same_rate_passes_samples_through() -> None:
    y = synth.noise(0.3).T
    assert np.array_equal(resample(y, from_hz=44_100, to_hz=44_100, block=1000), y)


def test_output_does_not_depend_on_the_blocks() -> None:
    """SPLIT-009."""
    y = synth.noise(1.0).T
    whole = resample(y, from_hz=44_100, to_hz=48_000, block=len(y))
    pieces = resample(y, from_hz=44_100, to_hz=48_000, block=777)
    assert synth.rms_db(whole - pieces) < -120


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES)
def test_tone_stays_in_place(from_hz: int, to_hz: int) -> None:
    def tone(sr: int) -> np.ndarray:
        return (0.5 * np.sin(2 * np.pi * 1000 * np.arange(sr) / sr)).astype(np.float32)[:, None]

    out = resample(tone(from_hz), from_hz=from_hz, to_hz=to_hz, block=4096)
    middle = slice(to_hz // 10, -to_hz // 10)
    assert synth.rms_db((out - tone(to_hz))[middle].T) < -90
