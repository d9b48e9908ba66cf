"""What the probe finds in good files of every supported kind. Bad ones: tests/integration/test_bad_inputs.py."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile as sf

from ironclad_assets.audio.decode import Decoder
from ironclad_assets.audio.probe import inspect_file
from tests import synth
from tests.bad_inputs.tags import many_tags
from tests.unit.audio.test_tag_hostile import frame

REAL = Path(__file__).resolve().parents[4] / "shared" / "audio"
needs_real_audio = pytest.mark.skipif(not REAL.is_dir(), reason="the shared audio is not beside this checkout")

SOUNDFILE_KINDS = [
    ("wav", "PCM_16", "wav", "pcm_s16le", 16),
    ("wav", "PCM_24", "wav", "pcm_s24le", 24),
    ("wav", "PCM_U8", "wav", "pcm_u8", 8),
    ("wav", "FLOAT", "wav", "pcm_f32le", 32),
    ("wav", "DOUBLE", "wav", "pcm_f64le", 64),
    ("wav", "ULAW", "wav", "pcm_mulaw", None),
    ("rf64", "PCM_16", "wav", "pcm_s16le", 16),
    ("w64", "PCM_16", "w64", "pcm_s16le", 16),
    ("flac", "PCM_16", "flac", "flac", 16),
    ("flac", "PCM_24", "flac", "flac", 24),
    ("aiff", "PCM_16", "aiff", "pcm_s16be", 16),
    ("aiff", "PCM_24", "aiff", "pcm_s24be", 24),
    ("au", "PCM_16", "au", "pcm_s16be", 16),
    ("ogg", "VORBIS", "ogg", "vorbis", None),
    ("ogg", "OPUS", "ogg", "opus", None),
    ("mp3", "MPEG_LAYER_III", "mp3", "mp3", None),
]
AV_KINDS = [
    ("m4a", "ipod", "aac", "fltp", "mp4", None),
    ("m4a", "ipod", "alac", "s16p", "mp4", 16),
    ("mka", "matroska", "flac", "s16", "matroska", None),
    ("wv", "wv", "wavpack", "s16p", "wavpack", 16),
    ("wma", "asf", "wmav2", "fltp", "asf", None),
    ("aac", "adts", "aac", "fltp", "aac", None),
]


def inspect(path: Path, **options: Any) -> dict[str, Any]:
    given = {"name": path.name, "min_duration_s": 0.5, "max_duration_s": 14_400.0, **options}
    return inspect_file(lambda fraction, message: None, path=str(path), **given)


def write_with_av(path: Path, y: np.ndarray, *, muxer: str, codec: str, form: str, sr: int = synth.SR) -> Path:
    with av.open(str(path), "w", format=muxer) as output:
        stream = output.add_stream(codec, rate=sr, layout="stereo", format=form)
        if codec == "wmav2":
            stream.bit_rate = 128_000
        stream.codec_context.open()
        converter = av.AudioResampler(
            format=form, layout="stereo", rate=sr, frame_size=stream.codec_context.frame_size or 1024
        )
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(y), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = sr, 0
        for ready in (*converter.resample(frame), *converter.resample(None), None):
            output.mux(stream.encode(ready))
    return path


@pytest.mark.parametrize(("extension", "subtype", "container", "codec", "bits"), SOUNDFILE_KINDS)
def test_kinds_that_libsndfile_writes(
    tmp_path: Path, extension: str, subtype: str, container: str, codec: str, bits: int | None
) -> None:
    """CAT-001: every kind is decoded whole, and named by content."""
    sr = 48_000 if subtype == "OPUS" else 44_100
    y = synth.music(1.5, sr=sr)
    path = tmp_path / f"song.{extension}"
    sf.write(path, y.T, sr, subtype=subtype, format=extension.upper())
    found = inspect(path)
    assert (found["container"], found["codec"], found["bit_depth"]) == (container, codec, bits)
    assert (found["sample_rate_hz"], found["channels"], found["frames"]) == (sr, 2, y.shape[1])
    assert found["peak"] == pytest.approx(float(np.abs(y).max()), abs=0.1)
    assert found["warnings"] == []
    assert not found["silent"]


@pytest.mark.parametrize(("extension", "muxer", "codec", "form", "container", "bits"), AV_KINDS)
def test_kinds_that_ffmpeg_writes(
    tmp_path: Path, extension: str, muxer: str, codec: str, form: str, container: str, bits: int | None
) -> None:
    """CAT-001."""
    y = synth.music(2.0)
    path = write_with_av(tmp_path / f"song.{extension}", y, muxer=muxer, codec=codec, form=form)
    found = inspect(path)
    assert (found["container"], found["codec"]) == (container, codec)
    assert bits is None or found["bit_depth"] == bits
    assert found["lossless"] == (codec in ("alac", "flac", "wavpack"))
    assert abs(found["frames"] - y.shape[1]) <= (0 if found["lossless"] else 4096)
    assert found["warnings"] == []


@pytest.mark.parametrize(
    ("extension", "subtype"),
    [("wav", "PCM_16"), ("wav", "PCM_U8"), ("flac", "PCM_24"), ("aiff", "PCM_24"), ("wav", "DOUBLE")],
)
def test_decoded_samples_are_those_written(tmp_path: Path, extension: str, subtype: str) -> None:
    y = synth.music(1.7)
    path = tmp_path / f"song.{extension}"
    sf.write(path, y.T, synth.SR, subtype=subtype)
    want, _ = sf.read(path, dtype="float32", always_2d=True)
    with Decoder(path) as decoder:
        blocks = list(decoder.blocks())
    assert all(block.dtype == np.float32 and block.flags.c_contiguous for block in blocks)
    assert np.array_equal(np.concatenate(blocks), want)


@needs_real_audio
def test_real_mp3_has_its_true_length() -> None:
    """The encoder's delay and padding are taken off: 479,832 frames."""
    found = inspect(REAL / "slow_motion_dream.mp3")
    assert found["frames"] == found["header_frames"] == 479_832
    assert found["warnings"] == []


@needs_real_audio
@pytest.mark.parametrize("song", ["Lithium", "Sodium"])
def test_real_flac_has_its_true_length(song: str) -> None:
    assert inspect(REAL / "multitrack" / song / "mixture.flac")["frames"] == 1_323_000


def test_silence_is_accepted_and_flagged(tmp_path: Path) -> None:
    found = inspect(synth.write_wav(tmp_path / "x.wav", synth.silence(2.0)))
    assert found["silent"]
    assert found["frames"] == 2 * synth.SR


def test_length_comes_from_the_bytes_where_the_header_leaves_it_open(tmp_path: Path) -> None:
    found = inspect(synth.endless_wav(tmp_path / "x.wav", frames=100_000))
    assert (found["frames"], found["header_frames"]) == (100_000, None)


@pytest.mark.parametrize("tags", ["flac", "id3"])
def test_very_many_tags_are_not_searched_again_and_again(tmp_path: Path, tags: str) -> None:
    """FFmpeg alone takes minutes for these: its list of tags is searched from the beginning for each."""
    good = synth.write_flac(tmp_path / "a.flac", synth.music(1.0))
    if tags == "flac":
        path = many_tags(tmp_path / "b.flac", count=60_000)
    else:
        good = synth.write_mp3(tmp_path / "a.mp3", synth.music(1.0))
        frames = b"".join(frame(b"TXXX", b"\3" + str(number).encode() + b"\0x") for number in range(60_000))
        size = bytes(len(frames) >> shift & 0x7F for shift in (21, 14, 7, 0))
        path = tmp_path / "b.mp3"
        path.write_bytes(b"ID3\4\0\0" + size + frames + good.read_bytes())
    assert inspect(path, name=good.name) == inspect(good)
    with Decoder(path) as one, Decoder(good) as other:
        assert np.array_equal(np.concatenate(list(one.blocks())), np.concatenate(list(other.blocks())))


def test_mono_and_low_rates_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    sf.write(path, synth.tone(1.0, sr=8_000, channels=1).T, 8_000, subtype="ULAW")
    found = inspect(path)
    assert (found["sample_rate_hz"], found["channels"], found["lossless"]) == (8_000, 1, False)


def test_wrong_extension_is_accepted_with_a_warning(tmp_path: Path) -> None:
    found = inspect(synth.write_flac(tmp_path / "song.mp3", synth.music(1.0)))
    assert found["media_type"] == "audio/flac"
    assert found["warnings"] == ["named mp3, but the content is flac"]


def test_only_the_audio_of_a_video_is_used(tmp_path: Path) -> None:
    path = tmp_path / "clip.mka"
    y = synth.music(1.0)
    with av.open(str(path), "w", format="matroska") as output:
        streams = [output.add_stream("pcm_s16le", rate=synth.SR, layout="stereo") for _ in range(3)]
        for stream in streams:
            frame = av.AudioFrame.from_ndarray(
                (np.ascontiguousarray(y.T).reshape(1, -1) * 32767).astype(np.int16), format="s16", layout="stereo"
            )
            frame.sample_rate, frame.pts = synth.SR, 0
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    found = inspect(path)
    assert found["frames"] == y.shape[1]
    assert found["warnings"] == ["the first of 3 audio streams is used"]


def test_progress_is_told_for_long_audio(tmp_path: Path) -> None:
    told: list[float] = []
    path = synth.silent_flac(tmp_path / "x.flac", seconds=200.0)
    inspect_file(
        lambda fraction, message: told.append(fraction),
        path=str(path),
        name="x.flac",
        min_duration_s=0.5,
        max_duration_s=1_000.0,
    )
    assert len(told) == 3
    assert told == sorted(told)
    assert told[-1] <= 1.0
