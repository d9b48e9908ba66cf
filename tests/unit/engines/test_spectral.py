"""The built-in engine's parts, and what its stems are worth on sounds whose place is known."""

import numpy as np
import pytest

from ironclad_harness.engine import EngineContext, EngineError, Samples, Statistics, Window
from ironclad_spectral.engine import SpectralEngine
from ironclad_spectral.features import NAMES, describe
from ironclad_spectral.filters import median_of_nine, pool, remedian, unpool
from ironclad_spectral.scores import PITCHES_HZ, SCORES, STEMS, Shares
from ironclad_spectral.transform import BINS, HOP, to_samples, to_spectrum

SR = 44_100


def context(**changes: object) -> EngineContext:
    fields: dict[str, object] = {
        "model": "spectral",
        "stems": STEMS,
        "parameters": {},
        "sample_rate_hz": SR,
        "channels": 2,
        "frames": 10 * SR,
        "statistics": Statistics(mean=0.0, std=0.1, peak=0.5, rms=0.1),
        "device": "cpu",
        "threads": 1,
        "seed": 0,
    }
    return EngineContext(**(fields | changes))


def separate(y: Samples) -> dict[str, Samples]:
    """Return the stems of `y` as one window, by name."""
    rms = float(np.sqrt(np.mean(y.astype(np.float64) ** 2)))
    engine = SpectralEngine(context(statistics=Statistics(mean=0.0, std=rms, peak=1.0, rms=rms)))
    stems = engine.separate(y, window=Window(pass_index=0, index=0, start=0, frames=y.shape[1], read_start=0))
    return dict(zip(STEMS, stems, strict=True))


def energy(y: Samples) -> float:
    return float(np.sum(y.astype(np.float64) ** 2))


def clicks(seconds: float) -> Samples:
    y = np.zeros((2, int(seconds * SR)), np.float32)
    burst = np.random.default_rng(0).normal(0, 0.4, 1500) * np.exp(-np.arange(1500) / 300)
    for start in range(4000, y.shape[1] - 1500, SR // 2):
        y[:, start : start + 1500] += burst.astype(np.float32)
    return y


def tone(hz: float, *, seconds: float, vibrato_hz: float = 0.0) -> Samples:
    time = np.arange(int(seconds * SR)) / SR
    phase = 2 * np.pi * hz * time + vibrato_hz * np.sin(2 * np.pi * 5.5 * time)
    y = sum(np.sin(k * phase) / k for k in range(1, 8)) * 0.2
    return np.stack([y, y]).astype(np.float32)


@pytest.mark.parametrize("frames", [1, HOP - 1, HOP, 12_345, 2 * SR])
def test_the_transform_there_and_back_loses_nothing(frames: int) -> None:
    y = np.random.default_rng(0).normal(0, 0.3, (2, frames)).astype(np.float32)
    assert np.allclose(to_samples(to_spectrum(y), frames=frames), y, atol=1e-6)


def test_the_remedian_passes_steps_and_drops_spikes() -> None:
    x = np.zeros((40, 3), np.float32)
    x[20:] = 1.0
    assert np.array_equal(remedian(x, axis=0, reaches=(1, 3)), x)
    x[5] = 9.0
    assert remedian(x, axis=0, reaches=(1, 3))[5].max() == 0.0


def test_the_median_of_nine_equals_are_all_equal() -> None:
    values = np.random.default_rng(0).random((9, 50)).astype(np.float32)
    found = median_of_nine(values)
    ordered = np.sort(values, axis=0)
    assert np.all((found >= ordered[3]) & (found <= ordered[5])), "within one rank of the median"


def test_pooling_and_unpooling_keep_sums_and_shape() -> None:
    x = np.random.default_rng(0).random((13, 9)).astype(np.float32)
    pooled = pool(x, steps=4, bins=2)
    assert pooled.sum() == pytest.approx(x.sum(), rel=1e-5)
    assert unpool(pooled, steps=4, bins=2, shape=(13, 9)).shape == (13, 9)


def test_features_do_not_depend_on_the_level() -> None:
    y = clicks(3) + tone(220, seconds=3)
    loud = describe(to_spectrum(y), floor=2**-10)
    soft = describe(to_spectrum(y * np.float32(2**-6)), floor=2**-16)
    for name, a, b in zip(NAMES, loud, soft, strict=True):
        assert np.allclose(a, b, atol=1e-2), name


def test_shares_are_between_zero_and_one() -> None:
    y = clicks(2) + tone(220, seconds=2)
    shares = Shares(np.arange(BINS, dtype=np.float32) * np.float32(SR / 2048)).of(describe(to_spectrum(y), floor=1e-3))
    assert len(shares) == len(STEMS) - 1
    assert all(share.min() >= 0 for share in shares)
    assert sum(shares).max() <= 1 + 1e-6


def test_the_table_of_scores_is_complete() -> None:
    assert tuple(SCORES) == STEMS[:-1]
    assert all(len(each.prior) == len(PITCHES_HZ) for each in SCORES.values())
    assert all(len(each.low) == len(each.high) == len(NAMES) for each in SCORES.values())


def test_stems_sum_to_the_mixture() -> None:
    y = clicks(4) + tone(220, seconds=4, vibrato_hz=3)
    stems = separate(y)
    assert 10 * np.log10(energy(y - sum(stems.values())) / energy(y)) < -120


@pytest.mark.parametrize(
    ("y", "stem"),
    [
        pytest.param(clicks(4), "drums", id="clicks are drums"),
        pytest.param(tone(55, seconds=4), "bass", id="a low tone is bass"),
        pytest.param(tone(330, seconds=4, vibrato_hz=6), "vocals", id="a wavering tone is a voice"),
    ],
)
def test_a_sound_goes_mostly_where_it_belongs(y: Samples, stem: str) -> None:
    energies = {name: energy(each) for name, each in separate(y).items()}
    assert max(energies, key=energies.__getitem__) == stem


def test_silence_stays_silence() -> None:
    assert all(not each.any() for each in separate(np.zeros((2, SR), np.float32)).values())


@pytest.mark.parametrize("seconds", [0.01, 1, 14, 16, 181, 3 * 3600])
def test_windows_share_the_song_evenly(seconds: float) -> None:
    frames = int(seconds * SR)
    (plan,) = SpectralEngine(context(frames=frames)).passes()
    windows = -(-(frames - plan.offset) // plan.hop)
    assert windows * plan.hop - (frames - plan.offset) < windows, "less than a frame per window is wasted"
    assert plan.window <= 16 * SR


@pytest.mark.parametrize("changes", [{"channels": 1}, {"stems": ("vocals",)}])
def test_what_it_cannot_do_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(EngineError):
        SpectralEngine(context(**changes))
