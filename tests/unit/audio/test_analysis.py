"""Listening with numbers: songs whose tempo, key and levels are known, and sounds that have none."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ironclad_assets.audio.analysis_envelope import MOST_POINTS, EnvelopeMeter, envelope_rate_hz
from ironclad_assets.audio.analysis_key import TONICS, camelot_code
from ironclad_assets.audio.analysis_sources import measure_sources
from ironclad_assets.audio.levels import LevelMeter, LoudnessRangeMeter
from ironclad_assets.audio.synthesis_song import BEAT_S, BEATS_PER_MINUTE, compose
from tests import synth

Y = NDArray[np.float32]

MAJOR, MINOR = (0, 4, 7), (0, 3, 7)


def listen(folder: Path, y: Y, *, sr: int = synth.SR, **stems: Y) -> dict[str, Any]:
    """Measure a mixture and its stems."""
    rms = float(np.sqrt(np.mean(np.square(y, dtype=np.float64)))) if y.size else 0.0
    path = synth.write_raw(folder / "mixture.f32", y)
    files = [{"name": name, "path": str(synth.write_raw(folder / f"{name}.f32", stem))} for name, stem in stems.items()]
    mixture = {
        "path": str(path),
        "sample_rate_hz": sr,
        "channels": y.shape[0],
        "frames": y.shape[1],
        "rms": rms if math.isfinite(rms) else 0.1,
    }
    return measure_sources(lambda *_: None, mixture=mixture, stems=files)


def note(midi: float, seconds: float, *, sr: int = synth.SR) -> NDArray[np.float64]:
    time = np.arange(round(seconds * sr)) / sr
    hz = 440.0 * 2.0 ** ((midi - 69.0) / 12.0)
    harmonics = sum(np.sin(2 * np.pi * hz * number * time) / number**1.2 for number in range(1, 7))
    return np.asarray(np.minimum(1.0, time / 0.01) * np.exp(-1.5 * time) * harmonics)


def cadence(tonic: int, mode: str, *, cents: float = 0.0, sr: int = synth.SR, channels: int = 2) -> Y:
    """Return tonic, fourth, fifth and tonic again as chords over their roots, a second each, four times."""
    own = MAJOR if mode == "major" else MINOR
    chords = ((0, own), (5, own), (7, MAJOR), (0, own))
    base = 48 + tonic + cents / 100.0
    bars = [
        0.2 * note(base - 12 + root, 1.0, sr=sr) + sum(0.1 * note(base + root + step, 1.0, sr=sr) for step in steps)
        for root, steps in chords
    ]
    return np.tile(np.concatenate(bars * 4).astype(np.float32), (channels, 1))


@pytest.fixture(scope="module")
def demo() -> dict[str, Y]:
    return {name: y.astype(np.float32) for name, y in compose(30.0, progress=lambda *_: None).items()}


def test_the_demo_song_has_its_tempo_beats_and_key(tmp_path, demo) -> None:
    mixture = np.sum(list(demo.values()), axis=0)
    found = listen(tmp_path, mixture, **demo)
    assert found["rhythm"]["bpm"] == pytest.approx(BEATS_PER_MINUTE, abs=0.2)
    assert found["rhythm"]["confidence"] > 0.5
    beats = np.array(found["rhythm"]["beats_s"])
    assert len(beats) >= 40
    assert np.abs(beats / BEAT_S - np.rint(beats / BEAT_S)).max() * BEAT_S < 0.03
    assert (found["key"]["tonic"], found["key"]["mode"], found["key"]["camelot"]) == ("A", "minor", "8A")
    assert abs(found["key"]["tuning_cents"]) < 3.0


@pytest.mark.parametrize("period_s", [0.6, 0.5, 0.4, 0.35])
def test_clicks_have_the_tempo_they_were_made_with(tmp_path, period_s) -> None:
    found = listen(tmp_path, synth.clicks(20.0, period_s=period_s))
    assert found["rhythm"]["bpm"] == pytest.approx(60.0 / period_s, rel=0.002)
    beats = np.array(found["rhythm"]["beats_s"])
    assert np.abs(beats / period_s - np.rint(beats / period_s)).max() * period_s < 0.02
    assert found["key"]["tonic"] is None


@pytest.mark.parametrize("mode", ["major", "minor"])
@pytest.mark.parametrize("tonic", [0, 2, 6, 9, 11])
def test_a_cadence_has_the_key_it_is_in(tmp_path, tonic, mode) -> None:
    key = listen(tmp_path, cadence(tonic, mode))["key"]
    assert (key["tonic"], key["mode"]) == (TONICS[tonic], mode)
    assert key["camelot"] == camelot_code(tonic, mode=mode)
    assert key["confidence"] > 0.3


def test_a_song_that_is_out_of_tune_has_its_key_and_says_how_far(tmp_path) -> None:
    key = listen(tmp_path, cadence(2, "major", cents=30.0))["key"]
    assert (key["tonic"], key["mode"]) == ("D", "major")
    assert key["tuning_cents"] == pytest.approx(30.0, abs=3.0)


def test_the_camelot_wheel_is_the_one_that_djs_know() -> None:
    wheel = {camelot_code(tonic, mode=mode) for tonic in range(12) for mode in ("major", "minor")}
    assert len(wheel) == 24
    known = {
        ("C", "major"): "8B",
        ("A", "minor"): "8A",
        ("G", "major"): "9B",
        ("B", "major"): "1B",
        ("E", "minor"): "9A",
    }
    assert {key: camelot_code(TONICS.index(key[0]), mode=key[1]) for key in known} == known


@pytest.mark.parametrize("seconds", [1.0, 4.0, 20.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_noise_has_neither_tempo_nor_beats_nor_key(tmp_path, seconds, seed) -> None:
    found = listen(tmp_path, synth.noise(seconds, seed=seed))
    assert found["rhythm"] == {"bpm": None, "confidence": 0.0, "beats_s": ()}
    assert found["key"]["tonic"] is None
    assert found["key"]["confidence"] < 0.15


def test_hits_at_random_times_have_no_tempo(tmp_path) -> None:
    chance = np.random.default_rng(0)
    y = np.zeros((2, 40 * synth.SR), dtype=np.float32)
    for at in chance.uniform(0, 39, 120):
        hit = 0.4 * chance.standard_normal(4_000) * np.exp(-np.arange(4_000) / 600)
        y[:, round(at * synth.SR) :][:, :4_000] += hit.astype(np.float32)
    assert listen(tmp_path, y)["rhythm"]["bpm"] is None


def test_a_single_tone_has_no_key(tmp_path) -> None:
    assert listen(tmp_path, synth.tone(5.0))["key"]["tonic"] is None


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.5, 1.0, 10.0])
def test_silence_of_any_length_is_no_song(tmp_path, seconds) -> None:
    found = listen(tmp_path, synth.silence(seconds), vocals=synth.silence(seconds))
    assert found["rhythm"]["bpm"] is None
    assert found["key"]["confidence"] == 0.0
    assert found["loudness_range_lu"] is None
    assert not any(found["envelopes"][1]["peak"])


@pytest.mark.parametrize("seconds", [0.001, 0.02, 0.1, 0.5, 1.0, 3.0])
def test_short_sounds_give_no_beats(tmp_path, seconds) -> None:
    found = listen(tmp_path, synth.music(seconds))
    assert all(0.0 <= beat < seconds for beat in found["rhythm"]["beats_s"])
    assert seconds > 1.0 or found["rhythm"]["bpm"] is None


@pytest.mark.parametrize(("sr", "channels"), [(8_000, 1), (11_025, 2), (48_000, 1), (96_000, 2), (192_000, 1)])
def test_odd_rates_and_one_channel_find_the_same(tmp_path, sr, channels) -> None:
    y = cadence(9, "minor", sr=sr, channels=channels) + synth.clicks(16.0, period_s=0.5, sr=sr, channels=channels)
    found = listen(tmp_path, y, sr=sr)
    assert found["rhythm"]["bpm"] == pytest.approx(120.0, abs=0.5)
    assert (found["key"]["tonic"], found["key"]["mode"]) == ("A", "minor")
    assert len(found["envelopes"][0]["peak"]) == 320


@pytest.mark.parametrize("gain", [1e-4, 8.0])
def test_how_loud_a_song_is_changes_nothing_that_is_heard_in_it(tmp_path, demo, gain) -> None:
    mixture = np.sum(list(demo.values()), axis=0)[:, : 15 * synth.SR]
    plain, changed = (listen(tmp_path, y.astype(np.float32)) for y in (mixture, mixture * gain))
    assert changed["rhythm"]["bpm"] == pytest.approx(plain["rhythm"]["bpm"], abs=0.1)
    assert changed["key"]["camelot"] == plain["key"]["camelot"]


def test_opposite_channels_do_not_cancel(tmp_path) -> None:
    y = cadence(0, "major")
    y[1] *= -1.0
    assert listen(tmp_path, y)["key"]["tonic"] == "C"


@pytest.mark.parametrize("value", [math.nan, math.inf, 3.0e38])
def test_hostile_samples_leave_every_number_finite(tmp_path, value) -> None:
    y = synth.music(12.0)
    y[0, 1_000:1_010] = value
    found = listen(tmp_path, y)
    numbers = [*found["rhythm"]["beats_s"], *found["envelopes"][0]["rms"], *found["envelopes"][0]["peak"]]
    assert all(map(math.isfinite, [*numbers, found["rhythm"]["confidence"], found["key"]["confidence"]]))
    assert all(earlier < later for earlier, later in pairwise(found["rhythm"]["beats_s"]))


def test_the_same_samples_give_the_same_numbers(tmp_path, demo) -> None:
    mixture = np.sum(list(demo.values()), axis=0)[:, : 10 * synth.SR]
    assert listen(tmp_path, mixture, **{}) == listen(tmp_path, mixture)


def test_stems_that_are_cut_short_count_as_silent_there(tmp_path) -> None:
    found = listen(tmp_path, synth.tone(2.0), vocals=synth.tone(1.0))
    assert found["envelopes"][1]["peak"][:20] == [0.5] * 20
    assert not any(found["envelopes"][1]["peak"][20:])


@pytest.mark.parametrize("block", [1, 777, 44_100, 10**6])
def test_the_envelope_is_exact_whatever_the_blocks(block) -> None:
    sr, rate, y = 22_050, 20, synth.noise(0.33, sr=22_050)
    meter = EnvelopeMeter(y.shape[1], sr=sr, rate_hz=rate)
    for start in range(0, y.shape[1], block):
        meter.add(y[:, start : start + block])
    edges = [math.ceil(step * sr / rate) for step in range(7)] + [y.shape[1]]
    parts = [y[:, start:stop].astype(np.float64) for start, stop in pairwise(edges)]
    peaks, rms = meter.result()
    assert peaks == pytest.approx([np.abs(part).max() for part in parts], abs=1e-4)
    assert rms == pytest.approx([np.sqrt(np.square(part).mean()) for part in parts], abs=1e-4)


def test_long_songs_get_fewer_steps_a_second() -> None:
    assert [envelope_rate_hz(hours * 3_600.0) for hours in (0.01, 1.0, 2.0, 4.0, 10.0)] == [20, 20, 10, 5, 2]
    assert all(envelope_rate_hz(seconds) * seconds <= MOST_POINTS for seconds in (1.0, 3_601.0, 36_000.0))


def loudness_range(*parts: tuple[float, float]) -> float | None:
    """Return the range of 1 kHz sines, given as level in dBFS and seconds."""
    meter = LoudnessRangeMeter(48_000, 2)
    for level_db, seconds in parts:
        meter.add(synth.tone(seconds, frequency_hz=1_000.0, sr=48_000, level=10 ** (level_db / 20)))
    return meter.result()


@pytest.mark.parametrize(
    ("parts", "range_lu"),
    [
        (((-20.0, 20.0), (-30.0, 20.0)), 10.0),
        (((-20.0, 20.0), (-15.0, 20.0)), 5.0),
        (((-40.0, 20.0), (-20.0, 20.0)), 20.0),
        (((-50.0, 20.0), (-35.0, 20.0), (-20.0, 20.0), (-35.0, 20.0), (-50.0, 20.0)), 15.0),
    ],
)
def test_the_loudness_range_is_that_of_the_ebu_test_signals(parts, range_lu) -> None:
    """EBU Tech 3342, minimum requirements 1 to 4: within 1 LU."""
    assert loudness_range(*parts) == pytest.approx(range_lu, abs=1.0)


def test_what_is_shorter_than_three_seconds_has_no_loudness_range() -> None:
    assert loudness_range((-20.0, 2.9)) is None


def test_samples_far_beyond_full_scale_have_a_loudness() -> None:
    meter = LevelMeter(48_000, 2)
    meter.add(synth.tone(5.0, frequency_hz=1_000.0, sr=48_000, level=1e5))
    assert meter.result()["loudness_lufs"] == pytest.approx(100.0, abs=0.1)
