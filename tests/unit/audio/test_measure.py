"""What is measured of stems: levels, residual, equality, and the picture."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ironclad_assets.audio.measure import measure_stems
from tests import synth


def measure(folder: Path, mixture: np.ndarray, **stems: np.ndarray) -> dict[str, Any]:
    path = synth.write_raw(folder / "mixture.f32", mixture)
    named = [{"name": name, "path": str(synth.write_raw(folder / f"{name}.f32", y))} for name, y in stems.items()]
    return measure_stems(
        lambda fraction, message: None,
        mixture={"path": str(path), "sample_rate_hz": synth.SR, "channels": mixture.shape[0]},
        stems=named,
    )


def test_stems_that_sum_to_the_mixture_leave_no_residual(tmp_path: Path) -> None:
    y = synth.music(3.0)
    found = measure(tmp_path, y, vocals=y * 0.25, rest=y * 0.75)
    assert found["residual_db"] < -140
    assert [stem["name"] for stem in found["stems"]] == ["vocals", "rest"]
    assert all(stem["frames"] == y.shape[1] and stem["finite"] for stem in found["stems"])


@pytest.mark.parametrize("missing_db", [-20.0, -60.0, -90.0])
def test_residual_is_the_energy_that_is_missing(tmp_path: Path, missing_db: float) -> None:
    y = synth.music(2.0)
    found = measure(tmp_path, y, all=y * np.float32(1 - 10 ** (missing_db / 20)))
    assert found["residual_db"] == pytest.approx(missing_db, abs=0.1)


def test_levels_follow_the_gain(tmp_path: Path) -> None:
    y = synth.music(3.0)
    found = measure(tmp_path, y, half=y * 0.5)
    half, whole = found["stems"][0], found["mixture"]
    for name in ("loudness_lufs", "true_peak_dbtp"):
        assert half[name] == pytest.approx(whole[name] - 6.02, abs=0.01)
    assert half["rms"] == pytest.approx(whole["rms"] / 2, rel=1e-4)


def test_identical_stems_are_named_but_silence_is_not(tmp_path: Path) -> None:
    y = synth.music(2.0)
    other = y.copy()
    other[0, -1] += 0.001
    silent = synth.silence(2.0)
    found = measure(tmp_path, y, a=y, b=y, c=other, d=silent, e=silent)
    assert found["identical"] == [["a", "b"]]


def test_silent_mixture_has_no_levels_and_no_residual(tmp_path: Path) -> None:
    silent = synth.silence(1.0)
    found = measure(tmp_path, silent, vocals=silent)
    assert found["residual_db"] is None
    assert found["mixture"]["loudness_lufs"] is None
    assert found["stems"][0]["true_peak_dbtp"] is None


def test_bad_samples_and_short_stems_are_told_not_hidden(tmp_path: Path) -> None:
    y = synth.music(2.0)
    bad = y.copy()
    bad[0, 70_000] = np.nan
    found = measure(tmp_path, y, bad=bad, short=y[:, :1_000])
    bad_facts, short_facts = found["stems"]
    assert not bad_facts["finite"]
    assert short_facts["frames"] == 1_000
    assert short_facts["finite"]
    assert found["residual_db"] > 0


def test_picture_is_small_and_shows_every_stem(tmp_path: Path) -> None:
    y = synth.music(4.0)
    stems = {name: y * (0.9 - 0.2 * index) for index, name in enumerate(("vocals", "drums", "bass", "other"))}
    picture = base64.b64decode(measure(tmp_path, y, **stems)["waveform_png_base64"])
    assert len(picture) <= 20_000
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    assert image.size == (600, 120)
    assert len(image.getcolors() or []) == 2 + 1 + len(stems)


def test_picture_puts_loud_parts_where_they_are(tmp_path: Path) -> None:
    y = synth.silence(4.0)
    half = y.shape[1] // 2
    y[:, half:] = synth.tone(2.0)[:, : y.shape[1] - half]
    picture = base64.b64decode(measure(tmp_path, y, all=y)["waveform_png_base64"])
    pixels = np.asarray(Image.open(io.BytesIO(picture)))[20:]
    drawn = np.flatnonzero((pixels != 0).any(axis=0))
    assert drawn.min() in range(299, 302)
    assert drawn.max() == 599
