"""Encoded files hold what was given, and equal samples give equal bytes."""

import hashlib
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from ironclad_assets.audio.encode import open_encoder, rate_for
from ironclad_assets.errors import ErrorCode, IroncladError
from tests import synth

LOSSLESS = [("flac", "pcm_16", 16), ("flac", "pcm_24", 24), ("wav", "pcm_16", 16), ("wav", "pcm_24", 24)]


def encode(path: Path, y: np.ndarray, *, form: str, subtype: str | None, sr: int = synth.SR) -> Path:
    with open_encoder(path, format=form, sample_rate_hz=sr, channels=y.shape[0], subtype=subtype) as encoder:
        for start in range(0, y.shape[1], 10_000):
            encoder.add(y[:, start : start + 10_000])
    assert encoder.frames == y.shape[1]
    return path


@pytest.mark.parametrize(("form", "subtype", "bits"), LOSSLESS)
def test_integer_formats_keep_samples_to_half_a_step(tmp_path: Path, form: str, subtype: str, bits: int) -> None:
    y = synth.music(1.0)
    back, rate = synth.read_audio(encode(tmp_path / "out", y, form=form, subtype=subtype))
    assert rate == synth.SR
    assert back.shape == y.shape
    assert np.abs(back - y).max() <= 2.0 ** (1 - bits)


def test_float_wav_keeps_samples_exactly_even_beyond_full_scale(tmp_path: Path) -> None:
    y = synth.music(0.5) * 4
    back, _ = synth.read_audio(encode(tmp_path / "out.wav", y, form="wav", subtype="float"))
    assert np.array_equal(back, y)


def test_mp3_has_320_kbit_and_the_right_length(tmp_path: Path) -> None:
    """STEM-001: the encoder's delay is written down, so that decoders give the exact length back."""
    y = synth.music(3.0)
    path = encode(tmp_path / "out.mp3", y, form="mp3", subtype=None)
    assert path.stat().st_size * 8 / 3.0 == pytest.approx(320_000, rel=0.05)
    back, _ = synth.read_audio(path)
    assert back.shape == y.shape
    assert synth.rms_db(back - y) < synth.rms_db(y) - 25


@pytest.mark.parametrize(
    ("form", "subtype"), [(form, subtype) for form, subtype, _ in LOSSLESS] + [("wav", "float"), ("mp3", None)]
)
def test_equal_samples_give_equal_bytes(tmp_path: Path, form: str, subtype: str | None) -> None:
    """SPLIT-006: no times and no serial numbers in a file."""
    y = synth.music(1.0)
    digests = set()
    for name in ("first", "second"):
        path = encode(tmp_path / name, y, form=form, subtype=subtype)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
        time.sleep(1.05 if subtype == "float" and name == "first" else 0)
    assert len(digests) == 1


def test_clipping_is_counted_and_does_not_wrap(tmp_path: Path) -> None:
    y = synth.tone(0.1) * 0 + np.float32(1.5)
    with open_encoder(tmp_path / "x.flac", format="flac", sample_rate_hz=synth.SR, channels=2) as encoder:
        encoder.add(y)
    assert encoder.clipped == y.size
    assert synth.read_audio(tmp_path / "x.flac")[0].min() > 0.999


def test_wav_beyond_four_gigabytes_is_written_as_rf64(tmp_path: Path) -> None:
    """STEM-001: songs beyond ten hours."""
    path = tmp_path / "x.wav"
    with open_encoder(path, format="wav", sample_rate_hz=48_000, channels=2, frames=2**31) as encoder:
        encoder.add(synth.tone(0.1))
    assert path.read_bytes()[:4] == b"RF64"
    assert sf.info(path).frames == synth.tone(0.1).shape[1]


@pytest.mark.parametrize(
    ("form", "subtype", "sr"), [("flac", "float", 44_100), ("ogg", None, 44_100), ("mp3", None, 96_000)]
)
def test_combinations_that_do_not_exist_are_refused(tmp_path: Path, form: str, subtype: str | None, sr: int) -> None:
    with pytest.raises(IroncladError) as caught:
        open_encoder(tmp_path / "x", format=form, sample_rate_hz=sr, channels=2, subtype=subtype)
    assert caught.value.code is ErrorCode.UNKNOWN_FORMAT


@pytest.mark.parametrize(
    ("sr", "form", "want"), [(96_000, "flac", 96_000), (96_000, "mp3", 48_000), (40_000, "mp3", 44_100)]
)
def test_rate_for_names_what_the_format_can_hold(sr: int, form: str, want: int) -> None:
    assert rate_for(sr, format=form) == want


@pytest.mark.parametrize("form", ["flac", "wav", "mp3"])
def test_full_disk_is_told_as_the_disks_error(form: str) -> None:
    """STORAGE_FULL must not look like an encoder's fault."""

    def encode_on_a_full_disk() -> None:
        encode(Path("/dev/full"), synth.noise(20.0), form=form, subtype=None)

    with pytest.raises(OSError, match="No space left"):
        encode_on_a_full_disk()
