"""The test audio itself: what the other tests rely on about it."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from tests import synth


def test_signals_are_planar_float32_below_full_scale() -> None:
    for y in (synth.tone(), synth.sweep(), synth.noise(), synth.clicks(), synth.silence(), synth.music()):
        assert y.dtype == np.float32
        assert y.shape[0] == 2
        assert np.abs(y).max() <= 1.0


def test_the_same_call_makes_the_same_bytes(tmp_path: Path) -> None:
    first = synth.good_song(tmp_path / "a.flac", title="A").read_bytes()
    assert synth.good_song(tmp_path / "b.flac", title="A").read_bytes() == first
    assert synth.good_song(tmp_path / "c.flac", title="A", seed=1).read_bytes() != first


@pytest.mark.parametrize("name", ["a.flac", "a.wav", "a.mp3", "a.ogg"])
def test_good_songs_decode_to_their_length(tmp_path: Path, name: str) -> None:
    y, sr = synth.read_audio(synth.good_song(tmp_path / name, seconds=2.0))
    assert sr == synth.SR
    assert y.shape == (2, 2 * synth.SR)


def test_ten_hours_of_silence_take_72_kilobytes_and_decode(tmp_path: Path) -> None:
    path = synth.silent_flac(tmp_path / "silence.flac")
    assert path.stat().st_size < 72_000
    with sf.SoundFile(path) as stream:
        assert (stream.samplerate, stream.channels, stream.frames) == (8_000, 1, 288_000_000)
        assert not stream.read(100_000, dtype="int16").any()
        stream.seek(287_999_000)
        assert len(stream.read(dtype="int16")) == 1_000


def test_a_lying_flac_claims_more_than_it_holds(tmp_path: Path) -> None:
    assert sf.info(synth.lying_flac(tmp_path / "lie.flac")).frames == 2**36 - 1


def test_half_an_mp3_is_half_as_large(tmp_path: Path) -> None:
    whole = synth.write_mp3(tmp_path / "whole.mp3", synth.music(6.0)).stat().st_size
    assert synth.half_mp3(tmp_path / "half.mp3").stat().st_size == whole // 2


def test_the_wrong_files_are_what_they_say(tmp_path: Path) -> None:
    assert sf.info(synth.one_hertz_wav(tmp_path / "1.wav")).samplerate == 1
    assert np.isnan(synth.read_audio(synth.nan_wav(tmp_path / "nan.wav"))[0]).sum() == 1
    assert zipfile.is_zipfile(io.BytesIO(synth.zip_file(tmp_path / "zip.mp3").read_bytes()))
    assert synth.zero_bytes(tmp_path / "0.mp3").stat().st_size == 0
    assert b"#EXTM3U" in synth.hls_text(tmp_path / "hls.mp3").read_bytes()
    assert synth.ffconcat_text(tmp_path / "cat.mp3").read_bytes().startswith(b"ffconcat")
    assert synth.huge_picture(tmp_path / "huge.png", side_px=15_000).stat().st_size < 200_000


def test_hostile_names_can_be_created_and_differ(tmp_path: Path) -> None:
    for name in synth.HOSTILE_NAMES:
        assert len(name) <= 255
        (tmp_path / os.fsdecode(name)).touch()
    assert sorted(os.listdir(bytes(tmp_path))) == sorted(synth.HOSTILE_NAMES)
