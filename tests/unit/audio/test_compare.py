"""SDR of separated stems against the true ones."""

from pathlib import Path

import numpy as np
import pytest

from ironclad_assets.audio.compare import compare_stems
from ironclad_assets.errors import ErrorCode, PermanentFailure
from tests import synth


def _ignore(fraction: float, message: str) -> None:
    pass


@pytest.fixture
def truth(tmp_path: Path) -> np.ndarray:
    y = synth.noise(4.0, seed=1)
    synth.write_wav(tmp_path / "truth.wav", y, subtype="FLOAT")
    return y


def _sdr(tmp_path: Path, estimate: np.ndarray, gain_db: float = 0.0) -> float | None:
    synth.write_wav(tmp_path / "estimate.wav", estimate, subtype="FLOAT")
    paths = {"references": {"x": str(tmp_path / "truth.wav")}, "estimates": {"x": str(tmp_path / "estimate.wav")}}
    return compare_stems(_ignore, **paths, gains_db={"x": gain_db})["x"]


def test_silence_gets_0_db(tmp_path: Path, truth: np.ndarray) -> None:
    assert _sdr(tmp_path, np.zeros_like(truth)) == pytest.approx(0.0, abs=1e-9)


def test_an_error_of_a_tenth_gets_20_db(tmp_path: Path, truth: np.ndarray) -> None:
    assert _sdr(tmp_path, 0.9 * truth) == pytest.approx(20.0, abs=1e-4)


def test_a_known_gain_is_taken_back(tmp_path: Path, truth: np.ndarray) -> None:
    y = 0.7 * truth
    assert _sdr(tmp_path, y) == pytest.approx(10.46, abs=0.01)
    assert (_sdr(tmp_path, y, gain_db=20 * np.log10(0.7)) or 0.0) > 100.0


def test_a_perfect_estimate_has_no_finite_ratio(tmp_path: Path, truth: np.ndarray) -> None:
    assert _sdr(tmp_path, truth) is None


def test_a_shift_of_one_frame_shows(tmp_path: Path, truth: np.ndarray) -> None:
    assert _sdr(tmp_path, np.roll(truth, 1, axis=1)) == pytest.approx(-3.0, abs=0.2)


def test_references_are_summed_and_formats_may_differ(tmp_path: Path) -> None:
    first, second = synth.noise(1.0, seed=1), synth.noise(1.0, seed=2)
    references = [
        str(synth.write_flac(tmp_path / "a.flac", first)),
        str(synth.write_wav(tmp_path / "b.wav", second, subtype="FLOAT")),
    ]
    estimate = str(synth.write_wav(tmp_path / "c.wav", first + second, subtype="FLOAT"))
    ratio = compare_stems(_ignore, references={"both": references}, estimates={"both": estimate})["both"]
    assert ratio > 70.0


def test_another_length_is_refused(tmp_path: Path, truth: np.ndarray) -> None:
    with pytest.raises(PermanentFailure, match="x: ") as caught:
        _sdr(tmp_path, truth[:, :-1])
    assert caught.value.code is ErrorCode.STEMS_INVALID
