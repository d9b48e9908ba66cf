"""Loudness and true peak against the recommendation's own test signals."""

import math

import numpy as np
import pytest

from ironclad_assets.audio.levels import LevelMeter
from tests import synth


def measure(y: np.ndarray, *, sr: int = 48_000, block: int = 65_536) -> dict[str, float | None]:
    meter = LevelMeter(sr, y.shape[0])
    for start in range(0, y.shape[1], block):
        meter.add(y[:, start : start + block])
    return meter.result()


def sine(
    level_db: float, *, seconds: float = 5.0, hz: float = 1000.0, sr: int = 48_000, channels: int = 2
) -> np.ndarray:
    y = 10 ** (level_db / 20) * np.sin(2 * np.pi * hz * np.arange(round(seconds * sr)) / sr)
    return np.tile(y.astype(np.float32), (channels, 1))


@pytest.mark.parametrize("sr", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_stereo_sine_at_minus_23_dbfs_has_minus_23_lufs(sr: int) -> None:
    """EBU Tech 3341, case 1: 1 kHz, tolerance 0.1 LU."""
    assert measure(sine(-23.0, sr=sr), sr=sr)["loudness_lufs"] == pytest.approx(-23.0, abs=0.1)


def test_one_channel_counts_half_of_two() -> None:
    assert measure(sine(-23.0, channels=1))["loudness_lufs"] == pytest.approx(-26.0, abs=0.1)


def test_quiet_parts_are_gated_out() -> None:
    """EBU Tech 3341, case 3: -36, -23, -36 dBFS for 10, 60, 10 s gives -23 LUFS."""
    y = np.concatenate([sine(-36.0, seconds=10), sine(-23.0, seconds=60), sine(-36.0, seconds=10)], axis=1)
    assert measure(y)["loudness_lufs"] == pytest.approx(-23.0, abs=0.1)


def test_absolute_gate_leaves_out_what_is_below_minus_70() -> None:
    """EBU Tech 3341, case 4."""
    parts = [(-72.0, 10), (-36.0, 10), (-23.0, 60), (-36.0, 10), (-72.0, 10)]
    y = np.concatenate([sine(level, seconds=seconds) for level, seconds in parts], axis=1)
    assert measure(y)["loudness_lufs"] == pytest.approx(-23.0, abs=0.1)


def test_loudness_agrees_with_pyloudnorm_on_music() -> None:
    pyloudnorm = pytest.importorskip("pyloudnorm")
    y = synth.music(6.0)
    reference = pyloudnorm.Meter(synth.SR, filter_class="DeMan").integrated_loudness(y.T.astype(np.float64))
    assert measure(y, sr=synth.SR)["loudness_lufs"] == pytest.approx(reference, abs=0.001)


@pytest.mark.parametrize("block", [100, 4_410, 50_001])
def test_result_does_not_depend_on_the_blocks(block: int) -> None:
    """SPLIT-009."""
    y = synth.music(3.0)
    assert measure(y, sr=synth.SR, block=block) == pytest.approx(measure(y, sr=synth.SR, block=10**9), rel=1e-5)


def test_peak_between_samples_is_found() -> None:
    """BS.1770-4 annex 2: a sine at a quarter of the rate, sampled 45 degrees off its peaks, reads 3 dB low."""
    y = 0.5 * np.sin(np.pi / 2 * np.arange(48_000) + np.pi / 4)
    y *= np.minimum(1.0, np.minimum(np.arange(48_000), np.arange(48_000)[::-1]) / 4_800)  # no clicks at the ends
    levels = measure(y.astype(np.float32)[None])
    assert levels["peak"] == pytest.approx(0.3536, abs=0.001)
    assert levels["true_peak_dbtp"] == pytest.approx(-6.02, abs=0.1)


@pytest.mark.parametrize("hz", [100.0, 997.0, 5_000.0, 12_000.0])
def test_true_peak_of_a_sine_is_its_amplitude(hz: float) -> None:
    y = sine(-6.0, hz=hz) * np.hanning(5 * 48_000).astype(np.float32)
    assert measure(y)["true_peak_dbtp"] == pytest.approx(-6.0, abs=0.15)


def test_true_peak_is_never_below_the_sample_peak() -> None:
    y = np.zeros((1, 5_000), dtype=np.float32)
    y[0, 4_999] = 1.0
    assert measure(y)["true_peak_dbtp"] >= 0.0


@pytest.mark.parametrize("frames", [0, 1, 100, 48_000])
def test_silence_has_no_level(frames: int) -> None:
    silence = np.zeros((2, frames), dtype=np.float32)
    assert measure(silence) == {"loudness_lufs": None, "true_peak_dbtp": None, "peak": 0.0, "rms": 0.0}


def test_rms_of_a_sine_is_three_decibels_below_its_peak() -> None:
    assert 20 * math.log10(measure(sine(-6.0))["rms"]) == pytest.approx(-9.01, abs=0.01)


def test_samples_that_are_no_numbers_are_flagged_and_do_not_spread() -> None:
    y = sine(-6.0, seconds=1.0)
    y[0, 1_000] = np.nan
    y[1, 2_000] = np.inf
    meter = LevelMeter(48_000, 2)
    meter.add(y)
    assert not meter.finite
    assert all(math.isfinite(value) for value in meter.result().values() if value is not None)
