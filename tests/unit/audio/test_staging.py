"""Staged audio has the engine's rate and channels, the source's own where that differs, and true statistics."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from ironclad_assets.audio.resample import resampled_frames
from ironclad_assets.audio.staging import stage_file
from ironclad_assets.errors import ErrorCode, IroncladError
from tests import synth


def stage(path: Path, *, rate: int = synth.SR, channels: int = 2, max_frames: int = 10**9) -> dict[str, Any]:
    return stage_file(
        lambda fraction, message: None,
        path=str(path),
        mixture_path=str(path.parent / "mixture.f32"),
        source_path=str(path.parent / "source.f32"),
        engine_rate_hz=rate,
        engine_channels=channels,
        max_frames=max_frames,
    )


def mixture(path: Path, *, channels: int = 2) -> np.ndarray:
    return synth.read_raw(path.parent / "mixture.f32", channels=channels)


def source(path: Path, *, channels: int = 2) -> np.ndarray:
    return synth.read_raw(path.parent / "source.f32", channels=channels)


def test_fitting_song_is_staged_once_and_bit_for_bit(tmp_path: Path) -> None:
    path = synth.write_flac(tmp_path / "x.flac", synth.music(2.0))
    found = stage(path)
    want, _ = synth.read_audio(path)
    assert np.array_equal(mixture(path), want)
    assert found["source"] is None
    assert not (tmp_path / "source.f32").exists()
    assert found["mixture"] == {"sample_rate_hz": synth.SR, "channels": 2, "frames": want.shape[1]}
    assert found["source_format"] == found["mixture"]


def test_other_rate_keeps_the_source_beside_the_mixture(tmp_path: Path) -> None:
    """The result comes back at the source's rate and length."""
    path = synth.write_flac(tmp_path / "x.flac", synth.music(2.0, sr=48_000), sr=48_000)
    found = stage(path)
    want, _ = synth.read_audio(path)
    assert np.array_equal(source(path), want)
    assert found["mixture"]["frames"] == resampled_frames(want.shape[1], from_hz=48_000, to_hz=44_100)
    assert mixture(path).shape[1] == found["mixture"]["frames"]
    assert found["source"] == {"sample_rate_hz": 48_000, "channels": 2, "frames": want.shape[1]}
    assert synth.rms_db(mixture(path)) == pytest.approx(synth.rms_db(want), abs=0.3)


def test_mono_is_doubled_for_a_stereo_engine_and_kept_as_source(tmp_path: Path) -> None:
    path = synth.write_wav(tmp_path / "x.wav", synth.tone(1.0, channels=1))
    found = stage(path)
    left, right = mixture(path)
    assert np.array_equal(left, right)
    assert np.array_equal(source(path, channels=1)[0], left)
    assert found["source"]["channels"] == found["source_format"]["channels"] == 1


def test_stereo_is_averaged_for_a_mono_engine(tmp_path: Path) -> None:
    path = synth.write_wav(tmp_path / "x.wav", synth.music(1.0))
    stage(path, channels=1)
    want, _ = synth.read_audio(path)
    assert np.allclose(mixture(path, channels=1)[0], want.mean(axis=0), atol=1e-6)
    assert np.array_equal(source(path), want)


def test_centre_of_a_surround_mix_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    y = np.zeros((6, synth.SR), dtype=np.float32)
    y[2] = synth.tone(1.0, channels=1)[0]
    sf.write(path, y.T, synth.SR, subtype="FLOAT")
    found = stage(path)
    assert np.allclose(mixture(path)[0], y[2] * np.sqrt(0.5), atol=1e-6)
    assert np.array_equal(*mixture(path))
    assert found["warnings"] == ["6 channels were mixed down to stereo"]
    assert found["source_format"]["channels"] == 2


@pytest.mark.parametrize("sr", [44_100, 48_000])
def test_statistics_are_those_of_the_whole_mixture(tmp_path: Path, sr: int) -> None:
    path = synth.write_wav(tmp_path / "x.wav", synth.music(4.0, sr=sr) * 0.7 + 0.05, sr=sr)
    found = stage(path)["statistics"]
    y = mixture(path).astype(np.float64)
    mono = y.mean(axis=0)
    assert found["mean"] == pytest.approx(mono.mean(), rel=1e-6)
    assert found["std"] == pytest.approx(mono.std(ddof=1), rel=1e-6)
    assert found["peak"] == pytest.approx(np.abs(y).max(), rel=1e-6)
    assert found["rms"] == pytest.approx(np.sqrt(np.square(y).mean()), rel=1e-6)


def test_staging_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    """SPLIT-006."""
    path = synth.write_mp3(tmp_path / "x.mp3", synth.music(2.0, sr=48_000), sr=48_000)
    stage(path)
    first = (tmp_path / "mixture.f32").read_bytes(), (tmp_path / "source.f32").read_bytes()
    stage(path)
    assert first == ((tmp_path / "mixture.f32").read_bytes(), (tmp_path / "source.f32").read_bytes())


def test_silence_is_flagged(tmp_path: Path) -> None:
    assert stage(synth.write_wav(tmp_path / "x.wav", synth.silence(1.0)))["silent"]


def test_file_that_grew_since_validation_is_refused(tmp_path: Path) -> None:
    path = synth.write_wav(tmp_path / "x.wav", synth.music(2.0))
    with pytest.raises(IroncladError) as caught:
        stage(path, max_frames=1_000)
    assert caught.value.code is ErrorCode.ARTIFACT_DAMAGED
