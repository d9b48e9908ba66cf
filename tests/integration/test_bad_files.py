"""Every bad input of the reliability table that concerns a file's content gets its published answer.

Through `validate_file`, so through the real sandbox. Names, links and devices are the intake's tests.
"""

import hashlib
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from ironclad_assets.contracts.v1.job import SongIdentity
from ironclad_assets.contracts.v1.validated_file import ValidatedFile
from ironclad_assets.errors import ErrorCode, IroncladError
from ironclad_assets.pipeline.policy import Policy
from ironclad_assets.pipeline.validate import validate_file
from ironclad_assets.storage.store import Store
from tests import synth

MAX_CPU_S = 20.0
Make = Callable[[Path], Path]


def validate(path: Path, *, store: Store, policy: Policy | None = None) -> ValidatedFile:
    """Put the file into the archive as intake does, then validate it."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    archived = store.archive / digest[:2] / digest
    archived.parent.mkdir(exist_ok=True)
    archived.write_bytes(path.read_bytes())
    song = SongIdentity(
        song="song",
        user_id="local",
        original_name=path.name,
        sha256=digest,
        size_bytes=path.stat().st_size,
        archive_path=archived.relative_to(store.root).as_posix(),
        uploaded_at="2026-01-01T00:00:00Z",
        door="test",
    )
    return validate_file(song, store=store, policy=policy or Policy())


def write_bytes(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def mp3_bytes(folder: Path, *, seconds: float = 6.0) -> bytes:
    return synth.write_mp3(folder / "made.mp3", synth.music(seconds)).read_bytes()


def mp3_without_length(path: Path) -> Path:
    """An MP3 without the Xing frame that tells its length, cut in half."""
    content = mp3_bytes(path.parent)
    second_frame = content.index(content[:2], 100)
    frames = content[second_frame:]
    return write_bytes(path, frames[: len(frames) // 2])


def encrypted_m4a(path: Path) -> Path:
    """An MP4 whose only track is stored as `enca` (common encryption)."""

    def box(kind: bytes, *content: bytes) -> bytes:
        body = b"".join(content)
        return struct.pack(">I4s", 8 + len(body), kind) + body

    entry = box(
        b"enca", bytes(6) + struct.pack(">HIIHHHHI", 1, 0, 0, 2, 16, 0, 0, 44_100 << 16),
        box(b"sinf", box(b"frma", b"mp4a"), box(b"schm", bytes(4), b"cenc", struct.pack(">I", 0x10000))),
    )  # fmt: skip
    data = box(b"dinf", box(b"dref", bytes(4), struct.pack(">I", 1), box(b"url ", b"\0\0\0\1")))
    table = box(
        b"stbl",
        box(b"stsd", bytes(4), struct.pack(">I", 1), entry),
        box(b"stts", bytes(4), struct.pack(">III", 1, 10, 1024)),
        box(b"stsc", bytes(4), struct.pack(">IIII", 1, 1, 10, 1)),
        box(b"stsz", bytes(4), struct.pack(">II", 100, 10)),
        box(b"stco", bytes(4), struct.pack(">II", 1, 40)),
    )
    media = box(
        b"mdia",
        box(b"mdhd", bytes(12), struct.pack(">IIHH", 44_100, 10_240, 0, 0)),
        box(b"hdlr", bytes(8), b"soun", bytes(13)),
        box(b"minf", box(b"smhd", bytes(8)), data, table),
    )
    track = box(b"trak", box(b"tkhd", bytes(3), b"\x07", bytes(8), struct.pack(">I", 1), bytes(68)), media)
    movie = box(b"moov", box(b"mvhd", bytes(12), struct.pack(">II", 1000, 232), bytes(80)), track)
    return write_bytes(path, box(b"ftyp", b"M4A \0\0\0\0isom") + movie + box(b"mdat", bytes(2_000)))


def outside_reference_m4a(path: Path) -> Path:
    """An M4A whose samples are said to lie in another file."""
    inside, outside = b"\0\0\0\x0curl \0\0\0\1", b"\0\0\0\x0calis\0\0\0\0"
    content = encrypted_m4a(path).read_bytes().replace(b"enca", b"mp4a")
    assert inside in content
    return write_bytes(path, content.replace(inside, outside))


def zeroed_length_flac(path: Path) -> Path:
    """Ten hours of silence whose header leaves the length open."""
    content = bytearray(synth.silent_flac(path).read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    return write_bytes(path, bytes(content))


REFUSED: list[tuple[str, Make, ErrorCode]] = [
    ("1 zero bytes.wav", synth.zero_bytes, ErrorCode.EMPTY_FILE),
    ("2 header only.wav", synth.header_only_wav, ErrorCode.NO_AUDIO),
    ("3 one sample.wav", lambda path: synth.odd_wav(path, frames=1), ErrorCode.TOO_SHORT),
    ("5 ten hours.flac", synth.silent_flac, ErrorCode.TOO_LONG),
    ("5 ten hours unannounced.flac", zeroed_length_flac, ErrorCode.TOO_LONG),
    ("6 lying.flac", synth.lying_flac, ErrorCode.DAMAGED),
    ("8 half.mp3", synth.half_mp3, ErrorCode.DAMAGED),
    ("10 one hertz.wav", synth.one_hertz_wav, ErrorCode.BAD_RATE),
    ("11 highest rate.wav", lambda path: synth.odd_wav(path, sr=2**32 - 1), ErrorCode.BAD_RATE),
    ("13 nine channels.wav", lambda path: synth.odd_wav(path, channels=9), ErrorCode.BAD_CHANNELS),
    ("14 65535 channels.wav", lambda path: synth.odd_wav(path, channels=65_535), ErrorCode.BAD_CHANNELS),
    ("14 no channels.wav", lambda path: synth.odd_wav(path, channels=0), ErrorCode.BAD_CHANNELS),
    ("15 no bits.wav", lambda path: synth.odd_wav(path, bits=0), ErrorCode.DAMAGED),
    ("15 unknown codec.wav", lambda path: synth.odd_wav(path, codec=0x9999), ErrorCode.DAMAGED),
    ("16 not a number.wav", synth.nan_wav, ErrorCode.NON_FINITE),
    ("16 infinite.wav", lambda path: synth.nan_wav(path, value=float("-inf")), ErrorCode.NON_FINITE),
    ("17 peak 1e38.wav", lambda path: synth.nan_wav(path, value=1e38), ErrorCode.DAMAGED),
    ("21 zip.mp3", synth.zip_file, ErrorCode.NOT_AUDIO),
    ("23 pdf.mp3", lambda path: write_bytes(path, b"%PDF-1.7\n" + mp3_bytes(path.parent)), ErrorCode.NOT_AUDIO),
    ("23 page.mp3", lambda path: write_bytes(path, b"<html>" + mp3_bytes(path.parent)), ErrorCode.NOT_AUDIO),
    ("24 hls http.mp3", lambda path: synth.hls_text(path, target="http://127.0.0.1/x.ts"), ErrorCode.NOT_AUDIO),
    ("25 hls file.mp3", synth.hls_text, ErrorCode.NOT_AUDIO),
    ("25 hls.m3u8", synth.hls_text, ErrorCode.NOT_AUDIO),
    ("26 ffconcat.mp3", synth.ffconcat_text, ErrorCode.NOT_AUDIO),
    ("26 ffconcat absolute.mp3", lambda path: synth.ffconcat_text(path, target="/etc/passwd"), ErrorCode.NOT_AUDIO),
    ("27 list.m3u", synth.playlist_text, ErrorCode.NOT_AUDIO),
    ("27 session.sdp", lambda path: write_bytes(path, b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 5 RTP/AVP 0\n"),
     ErrorCode.NOT_AUDIO),
    ("27 manifest.mpd", lambda path: write_bytes(path, b"<?xml version='1.0'?><MPD/>"), ErrorCode.NOT_AUDIO),
    ("27 list.pls", lambda path: write_bytes(path, b"[playlist]\nFile1=/etc/passwd\n"), ErrorCode.NOT_AUDIO),
    ("27 sheet.cue", lambda path: write_bytes(path, b'FILE "x.wav" WAVE\n'), ErrorCode.NOT_AUDIO),
    ("28 reference.m4a", outside_reference_m4a, ErrorCode.DAMAGED),
    ("30 protected.m4p", encrypted_m4a, ErrorCode.PROTECTED),
    ("32 long tag.mp3", lambda path: write_bytes(path, b"ID3\4\0\0\x7f\x7f\x7f\x7f" + mp3_bytes(path.parent)),
     ErrorCode.DAMAGED),
    ("64 random bytes.mp3", synth.random_bytes, ErrorCode.NOT_AUDIO),
]  # fmt: skip


@pytest.mark.parametrize(("name", "make", "code"), REFUSED, ids=[name for name, _, _ in REFUSED])
def test_bad_file_is_refused_with_its_published_code(
    store: Store, tmp_path: Path, name: str, make: Make, code: ErrorCode
) -> None:
    """CAT-002; the numbers are those of the reliability table."""
    path = make(tmp_path / name)
    before = sorted(store.root.rglob("*"))
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    with pytest.raises(IroncladError) as caught:
        validate(path, store=store)
    assert caught.value.code is code, caught.value.describe()
    assert caught.value.permanent
    assert caught.value.detail
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - used < MAX_CPU_S
    assert [
        entry for entry in store.root.rglob("*") if entry not in before and store.archive not in entry.parents
    ] == []


def loud_eight_channels(path: Path) -> Path:
    y = np.concatenate([synth.noise(1.0, seed=seed) for seed in range(4)])
    sf.write(path, y.T, synth.SR, subtype="PCM_16", format="WAV")
    return path


def high_rate(path: Path) -> Path:
    return synth.write_wav(path, synth.tone(1.0, sr=192_000), sr=192_000)


def offset(path: Path) -> Path:
    return synth.write_wav(path, synth.silence(1.0) + np.float32(0.9), subtype="FLOAT")


def nearly_whole_mp3(path: Path) -> Path:
    return synth.cut_file(synth.write_mp3(path, synth.music(10.0)), share=0.95)


ACCEPTED: list[tuple[str, Make, str | None]] = [
    ("4 silence.wav", lambda path: synth.write_wav(path, synth.silence(180.0)), None),
    ("7 endless.wav", synth.endless_wav, None),
    ("8 nearly whole.mp3", nearly_whole_mp3, "truncated"),
    ("8 half without length.mp3", mp3_without_length, None),
    ("12 high rate.wav", high_rate, None),
    ("13 eight channels.wav", loud_eight_channels, "mixed down"),
    ("18 offset.wav", offset, "DC offset"),
    ("20 flac.mp3", lambda path: synth.write_flac(path, synth.music(1.0)), "content is flac"),
]


@pytest.mark.parametrize(("name", "make", "warning"), ACCEPTED, ids=[name for name, _, _ in ACCEPTED])
def test_odd_but_good_file_is_accepted_and_says_what_is_odd(
    store: Store, tmp_path: Path, name: str, make: Make, warning: str | None
) -> None:
    """CAT-002; the numbers are those of the reliability table."""
    found = validate(make(tmp_path / name), store=store)
    assert found.audio.frames > 0
    assert found.silent == name.startswith("4 ")
    if warning is None:
        assert found.warnings == ()
    else:
        assert any(warning in remark for remark in found.warnings)


def test_length_comes_from_the_bytes_where_the_header_leaves_it_open(store: Store, tmp_path: Path) -> None:
    found = validate(synth.endless_wav(tmp_path / "x.wav", frames=100_000), store=store)
    assert found.audio.frames == 100_000
    assert found.header_frames is None


def test_playlist_never_opens_the_file_it_names(store: Store, tmp_path: Path) -> None:
    """A good song beside the playlist, named by it, must not come back as the playlist's audio."""
    synth.write_wav(tmp_path / "secret.wav", synth.music(2.0))
    for make in (synth.ffconcat_text, synth.hls_text):
        with pytest.raises(IroncladError) as caught:
            validate(make(tmp_path / "x.mp3", target="secret.wav"), store=store)
        assert caught.value.code is ErrorCode.NOT_AUDIO


def mutated(content: bytes, *, seed: int) -> bytes:
    """Return `content` with some bytes changed, a stretch removed, or another doubled."""
    rng = np.random.default_rng(seed)
    data = bytearray(content)
    for position in rng.integers(0, len(data), size=int(rng.integers(1, 40))):
        data[position] = int(rng.integers(0, 256))
    start, length = int(rng.integers(0, len(data))), int(rng.integers(0, 3_000))
    if seed % 3 == 1:
        del data[start : start + length]
    elif seed % 3 == 2:
        data[start:start] = data[start : start + length]
    header = int(rng.integers(0, 64))
    data[header] = int(rng.integers(0, 256))
    return bytes(data)


@pytest.mark.parametrize("extension", ["wav", "flac", "mp3", "ogg", "m4a"])
def test_mutated_copies_get_a_published_answer_and_bounded_time(store: Store, tmp_path: Path, extension: str) -> None:
    """CAT-002: whatever the bytes, the answer is a published code of the file's, never an internal error."""
    original = tmp_path / f"good.{extension}"
    if extension == "m4a":
        content = encrypted_m4a(original).read_bytes().replace(b"enca", b"mp4a")
    else:
        sf.write(original, synth.music(2.0).T, synth.SR)
        content = original.read_bytes()
    codes = set()
    for seed in range(15):
        started = time.monotonic()
        path = write_bytes(tmp_path / f"{seed}.{extension}", mutated(content, seed=seed))
        try:
            found = validate(path, store=store)
            assert found.audio.frames > 0
        except IroncladError as error:
            codes.add(error.code)
        assert time.monotonic() - started < MAX_CPU_S
    assert ErrorCode.INTERNAL not in codes


def test_good_song_after_the_bad_ones_is_accepted(store: Store, tmp_path: Path) -> None:
    """One bad song never stops another."""
    for make in (synth.half_mp3, synth.nan_wav, synth.zip_file):
        with pytest.raises(IroncladError):
            validate(make(tmp_path / "bad"), store=store)
    assert validate(synth.good_song(tmp_path / "good.flac"), store=store).warnings == ()
