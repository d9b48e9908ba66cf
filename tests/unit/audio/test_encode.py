"""Encoded files hold what was given, for exactly as long, and equal samples give equal bytes."""

import hashlib
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile as sf

from ironclad_assets.audio.encode import open_encoder
from ironclad_assets.audio.info_header import header_crc
from ironclad_assets.contracts.v1.formats import OutputFormat, SampleFormat
from ironclad_assets.errors import ErrorCode, IroncladError
from tests import synth

LOSSLESS = [("flac", "int16", 16), ("flac", "int24", 24), ("wav", "int16", 16), ("wav", "int24", 24)]
LOSSY = ["mp3", "m4a", "opus"]
EVERY = [(form, kind) for form, kind, _ in LOSSLESS] + [("wav", "float32")] + [(form, None) for form in LOSSY]


def encode(
    path: Path, y: synth.Signal, *, form: str, kind: str | None = None, sr: int = synth.SR, kbps: int | None = None
) -> Path:
    more: dict[str, Any] = {"sample_format": SampleFormat(kind)} if kind else {}
    with open_encoder(
        path, output=OutputFormat(form), sample_rate_hz=sr, channels=y.shape[0], frames=y.shape[1], bitrate_kbps=kbps,
        **more,
    ) as encoder:  # fmt: skip
        for start in range(0, y.shape[1], 10_000):
            encoder.add(y[:, start : start + 10_000])
    assert encoder.frames == y.shape[1]
    return path


def decode_with_ffmpeg(path: Path) -> synth.Signal:
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
        channels = container.streams.audio[0].codec_context.channels
    planar = [frame if len(frame) == channels else frame.reshape(-1, channels).T for frame in frames]
    return np.concatenate(planar, axis=1)


@pytest.mark.parametrize(("form", "kind", "bits"), LOSSLESS)
def test_integer_formats_keep_samples_to_half_a_step(tmp_path: Path, form: str, kind: str, bits: int) -> None:
    y = synth.music(1.0)
    back, rate = synth.read_audio(encode(tmp_path / "out", y, form=form, kind=kind))
    assert rate == synth.SR
    assert back.shape == y.shape
    assert np.abs(back - y).max() <= 2.0 ** (1 - bits)


def test_float_wav_keeps_samples_exactly_even_beyond_full_scale(tmp_path: Path) -> None:
    y = synth.music(0.5) * 4
    back, _ = synth.read_audio(encode(tmp_path / "out.wav", y, form="wav", kind="float32"))
    assert np.array_equal(back, y)


@pytest.mark.parametrize(
    ("form", "sr", "channels", "kbps", "want"),
    [("mp3", 44_100, 2, None, 320), ("mp3", 44_100, 2, 192, 192), ("mp3", 44_100, 1, 100, 96),
     ("mp3", 22_050, 2, 320, 160), ("mp3", 8_000, 1, None, 64), ("m4a", 44_100, 2, None, 256),
     ("m4a", 48_000, 1, 64, 64), ("m4a", 96_000, 2, None, 256), ("opus", 48_000, 2, None, 192),
     ("opus", 48_000, 1, 64, 64), ("opus", 48_000, 2, 96, 96)],
)  # fmt: skip
def test_files_have_the_bit_rate_asked_for(
    tmp_path: Path, form: str, sr: int, channels: int, kbps: int | None, want: int
) -> None:
    """STEM-001"""
    y = synth.noise(10.0, sr=sr, channels=channels)
    path = encode(tmp_path / f"a.{form}", y, form=form, sr=sr, kbps=kbps)
    assert path.stat().st_size * 8 / 10_000 == pytest.approx(want, rel=0.15)


@pytest.mark.parametrize("form", LOSSY)
@pytest.mark.parametrize(
    "frames", [576, 1000, 1024 * 40, 1024 * 40 + 1, 1024 * 40 - 1, 100_001, 1152 * 40, 1152 * 40 + 1, 1152 * 40 + 46]
)
def test_a_lossy_file_decodes_to_the_frames_it_was_given(tmp_path: Path, form: str, frames: int) -> None:
    """STEM-001: what the encoder adds before and after is written down, and FFmpeg and libsndfile heed it."""
    sr = 48_000
    y = synth.music(3.0, sr=sr)[:, :frames] * np.float32(0.5)
    path = encode(tmp_path / f"a.{form}", y, form=form, sr=sr)
    decoded = [decode_with_ffmpeg(path)]
    if form != "m4a":  # libsndfile has no AAC
        decoded.append(synth.read_audio(path)[0])
    for back in decoded:
        assert back.shape == y.shape
        if frames > 40_000:
            assert synth.rms_db(back - y) - synth.rms_db(y) < -20


@pytest.mark.parametrize(("form", "sr"), [("mp3", 22_050), ("mp3", 8_000), ("m4a", 8_000), ("m4a", 96_000)])
def test_other_rates_are_exact_too(tmp_path: Path, form: str, sr: int) -> None:
    for frames in (20_000, 576 * 30 + 5):
        y = synth.tone(5.0, sr=sr, channels=1)[:, :frames]
        assert decode_with_ffmpeg(encode(tmp_path / f"a.{form}", y, form=form, sr=sr)).shape == y.shape


def test_the_info_header_of_mp3_stays_valid(tmp_path: Path) -> None:
    """Its checksum is right after the padding was corrected; players drop a header whose checksum is wrong."""
    for frames in (100_000, 1152 * 40 + 20):
        head = encode(tmp_path / "a.mp3", synth.music(3.0)[:, :frames], form="mp3").read_bytes()[:512]
        tag = head.find(b"Info")
        assert head[:2] == b"\xff\xfb"
        assert header_crc(head[: tag + 154]) == int.from_bytes(head[tag + 154 : tag + 156], "big")


def test_an_mp4_says_where_the_audio_begins_and_how_long_it_is(tmp_path: Path) -> None:
    """Players that heed the edit list get the exact length without knowing anything of FFmpeg."""
    frames = 100_001
    content = encode(tmp_path / "a.m4a", synth.music(3.0)[:, :frames], form="m4a").read_bytes()
    entry = content.find(b"elst") + 12
    assert int.from_bytes(content[entry : entry + 4], "big") == frames
    start = int.from_bytes(content[entry + 4 : entry + 8], "big")
    assert start >= 1024
    assert (start + frames) % 1024 == 0


@pytest.mark.parametrize(("form", "kind"), EVERY)
def test_equal_samples_give_equal_bytes(tmp_path: Path, form: str, kind: str | None) -> None:
    """SPLIT-006: no times and no serial numbers in a file."""
    y = synth.music(1.0, sr=48_000)
    digests = set()
    for name in ("first", "second"):
        path = encode(tmp_path / name, y, form=form, kind=kind, sr=48_000)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
        time.sleep(1.05 if kind in ("float32", None) and name == "first" else 0)
    assert len(digests) == 1


@pytest.mark.parametrize("form", LOSSY)
def test_the_size_of_blocks_does_not_show_in_the_bytes(tmp_path: Path, form: str) -> None:
    y, contents = synth.music(2.0, sr=48_000), []
    for size in (1_000, 65_536):
        with open_encoder(
            tmp_path / "a", output=OutputFormat(form), sample_rate_hz=48_000, channels=2, frames=y.shape[1]
        ) as encoder:
            for start in range(0, y.shape[1], size):
                encoder.add(y[:, start : start + size])
        contents.append((tmp_path / "a").read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize("form", LOSSY)
def test_no_version_of_a_library_stands_in_a_file(tmp_path: Path, form: str) -> None:
    content = encode(tmp_path / "a", synth.tone(0.5, sr=48_000), form=form, sr=48_000).read_bytes()
    assert b"Lavf6" not in content
    assert b"Lavc6" not in content
    assert b"libopus 1" not in content


def test_clipping_is_counted_and_does_not_wrap(tmp_path: Path) -> None:
    y = synth.tone(0.1) * 0 + np.float32(1.5)
    with open_encoder(
        tmp_path / "x.flac", output=OutputFormat.FLAC, sample_rate_hz=synth.SR, channels=2, frames=y.shape[1]
    ) as encoder:
        encoder.add(y)
    assert encoder.clipped == y.size
    assert synth.read_audio(tmp_path / "x.flac")[0].min() > 0.999


def test_wav_beyond_four_gigabytes_is_written_as_rf64(tmp_path: Path) -> None:
    """STEM-001: songs beyond ten hours."""
    path = tmp_path / "x.wav"
    with open_encoder(path, output=OutputFormat.WAV, sample_rate_hz=48_000, channels=2, frames=2**31) as encoder:
        encoder.add(synth.tone(0.1))
    assert path.read_bytes()[:4] == b"RF64"
    assert sf.info(path).frames == synth.tone(0.1).shape[1]


@pytest.mark.parametrize(
    ("form", "kind", "sr"),
    [("flac", "float32", 44_100), ("mp3", None, 96_000), ("opus", None, 44_100), ("m4a", None, 192_000)],
)
def test_combinations_that_do_not_exist_are_refused(tmp_path: Path, form: str, kind: str | None, sr: int) -> None:
    with pytest.raises(IroncladError) as caught:
        encode(tmp_path / "x", synth.tone(0.1), form=form, kind=kind, sr=sr)
    assert caught.value.code is ErrorCode.UNKNOWN_FORMAT


@pytest.mark.parametrize("form", ["flac", "wav", *LOSSY])
def test_full_disk_is_told_as_the_disks_error(form: str) -> None:
    """STORAGE_FULL must not look like an encoder's fault."""
    with pytest.raises(OSError, match="No space left"):
        encode(Path("/dev/full"), synth.noise(20.0, sr=48_000), form=form, sr=48_000)


@pytest.mark.parametrize("form", ["flac", "wav", *LOSSY])
def test_an_error_while_encoding_passes_through_unchanged(tmp_path: Path, form: str) -> None:
    def fail_half_way() -> None:
        with open_encoder(
            tmp_path / "a", output=OutputFormat(form), sample_rate_hz=48_000, channels=2, frames=1000
        ) as encoder:
            encoder.add(synth.tone(0.01, sr=48_000))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
