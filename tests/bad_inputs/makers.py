"""Makers of files whose content is wrong in ways that `tests.synth` does not need: containers written by hand."""

import gzip
import struct
import zipfile
from pathlib import Path

import av
import numpy as np
import soundfile as sf

from tests import synth


def write_bytes(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def mp3_bytes(folder: Path, *, seconds: float = 3.0) -> bytes:
    """Return a good MP3, made in `folder`."""
    path = synth.write_mp3(folder / "made.mp3", synth.music(seconds))
    content = path.read_bytes()
    path.unlink()
    return content


def mp3_behind(head: bytes, path: Path) -> Path:
    """Write an MP3 with something else in front."""
    return write_bytes(path, head + mp3_bytes(path.parent))


def mp3_without_length(path: Path) -> Path:
    """Write an MP3 without the Xing frame that tells its length, cut in half."""
    content = mp3_bytes(path.parent, seconds=6.0)
    frames = content[content.index(content[:2], 100) :]
    return write_bytes(path, frames[: len(frames) // 2])


def nearly_whole_mp3(path: Path) -> Path:
    return synth.cut_file(synth.write_mp3(path, synth.music(10.0)), share=0.95)


def unannounced_flac(path: Path) -> Path:
    """Write ten hours of silence whose header leaves the length open."""
    content = bytearray(synth.silent_flac(path).read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    return write_bytes(path, bytes(content))


def eight_channels(path: Path) -> Path:
    y = np.concatenate([synth.noise(1.0, seed=seed) for seed in range(4)])
    sf.write(path, y.T, synth.SR, subtype="PCM_16", format="WAV")
    return path


def high_rate(path: Path) -> Path:
    return synth.write_wav(path, synth.tone(1.0, sr=192_000), sr=192_000)


def telephone(path: Path) -> Path:
    """Write mono u-law at 8 kHz."""
    sf.write(path, synth.tone(1.0, sr=8_000, channels=1).T, 8_000, subtype="ULAW", format="WAV")
    return path


def offset(path: Path) -> Path:
    return synth.write_wav(path, synth.silence(1.0) + np.float32(1.0), subtype="FLOAT")


def video(path: Path) -> Path:
    """Write an MP4 with moving pictures and sound."""
    with av.open(str(path), "w", format="mp4") as output:
        pictures = output.add_stream("mpeg4", rate=10)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 64, "yuv420p"
        sound = output.add_stream("aac", rate=synth.SR, layout="stereo")
        for number in range(10):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), number * 20, np.uint8), format="rgb24")
            output.mux(pictures.encode(picture))
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(synth.music(1.0)), format="fltp", layout="stereo")
        frame.sample_rate = synth.SR
        resampler = av.AudioResampler(format=sound.codec_context.format, frame_size=1024)
        for part in (*resampler.resample(frame), None):
            output.mux(sound.encode(part))
        output.mux(pictures.encode(None))
    return path


def zip_bomb(path: Path) -> Path:
    """Write a ZIP of half a megabyte that unpacks to a hundred."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("song.mp3", bytes(100_000_000))
    return path


def gzip_bomb(path: Path) -> Path:
    return write_bytes(path, gzip.compress(bytes(100_000_000), compresslevel=1, mtime=0))


# MP4


def _box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _movie(entry: bytes, *, reference: bytes) -> bytes:
    """Return an MP4 with one track of ten empty packets, with this sample description and data reference."""
    table = _box(
        b"stbl",
        _box(b"stsd", bytes(4), struct.pack(">I", 1), entry),
        _box(b"stts", bytes(4), struct.pack(">III", 1, 10, 1024)),
        _box(b"stsc", bytes(4), struct.pack(">IIII", 1, 1, 10, 1)),
        _box(b"stsz", bytes(4), struct.pack(">II", 100, 10)),
        _box(b"stco", bytes(4), struct.pack(">II", 1, 40)),
    )
    data = _box(b"dinf", _box(b"dref", bytes(4), struct.pack(">I", 1), reference))
    media = _box(
        b"mdia",
        _box(b"mdhd", bytes(12), struct.pack(">IIHH", 44_100, 10_240, 0, 0)),
        _box(b"hdlr", bytes(8), b"soun", bytes(13)),
        _box(b"minf", _box(b"smhd", bytes(8)), data, table),
    )
    track = _box(b"trak", _box(b"tkhd", bytes(3), b"\x07", bytes(8), struct.pack(">I", 1), bytes(68)), media)
    movie = _box(b"moov", _box(b"mvhd", bytes(12), struct.pack(">II", 1000, 232), bytes(80)), track)
    return _box(b"ftyp", b"M4A \0\0\0\0isom") + movie + _box(b"mdat", bytes(2_000))


_HERE = _box(b"url ", b"\0\0\0\1")
_LAYOUT = bytes(6) + struct.pack(">HIIHHHHI", 1, 0, 0, 2, 16, 0, 0, 44_100 << 16)


def protected_m4a(path: Path, *, entry: bytes = b"enca") -> Path:
    """Write an MP4 whose only track is stored encrypted: `enca` is common encryption, `drms` a shop's own."""
    scheme = _box(b"schm", bytes(4), b"cenc", struct.pack(">I", 0x10000))
    description = _box(entry, _LAYOUT, _box(b"sinf", _box(b"frma", b"mp4a"), scheme))
    return write_bytes(path, _movie(description, reference=_HERE))


def outside_m4a(path: Path, *, kind: bytes = b"url ", target: bytes = b"file:///etc/passwd\0") -> Path:
    """Write an M4A whose samples are said to lie in another file."""
    return write_bytes(path, _movie(_box(b"mp4a", _LAYOUT), reference=_box(kind, bytes(4), target)))


# Matroska


def _element(number: str, content: bytes) -> bytes:
    return bytes.fromhex(number) + b"\x01" + len(content).to_bytes(7, "big") + content


def _number(value: int) -> bytes:
    return value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")


def matroska(path: Path, *, packets: int, frames: int = 1, rate_hz: int = 8_000, tracks: int = 1) -> Path:
    """Write a Matroska file of mono PCM: `packets` packets of `frames` samples in the first of `tracks` tracks."""
    kind = {"4286": 1, "42f7": 1, "42f2": 4, "42f3": 8, "4287": 4, "4285": 2}
    head = b"".join(_element(name, _number(value)) for name, value in kind.items()) + _element("4282", b"matroska")
    length_ms = struct.pack(">d", packets * frames * 1000 / rate_hz)
    info = _element("2ad7b1", _number(1_000_000)) + _element("4489", length_ms)
    sound = _element("b5", struct.pack(">d", rate_hz)) + _element("9f", _number(1)) + _element("6264", _number(16))
    entries = b"".join(
        _element(
            "ae",
            _element("d7", _number(track)) + _element("73c5", _number(track)) + _element("83", _number(2))
            + _element("86", b"A_PCM/INT/LIT") + _element("e1", sound),
        )
        for track in range(1, tracks + 1)
    )  # fmt: skip
    clusters = []
    samples = [(struct.pack("<hh", sign * 9_000, -sign * 9_000) * frames)[: 2 * frames] for sign in (1, -1)]
    for start in range(0, packets, 1_000):
        at_ms = [number * frames * 1000 // rate_hz for number in range(start, min(start + 1_000, packets))]
        blocks = b"".join(
            b"\xa3"
            + bytes([0x84 + 2 * frames])
            + b"\x81"
            + struct.pack(">h", one - at_ms[0])
            + b"\x80"
            + samples[n % 2]
            for n, one in enumerate(at_ms)
        )
        clusters.append(_element("1f43b675", _element("e7", _number(at_ms[0])) + blocks))
    segment = _element("1549a966", info) + _element("1654ae6b", entries) + b"".join(clusters)
    return write_bytes(path, _element("1a45dfa3", head) + _element("18538067", segment))


# Ogg


def chained_ogg(path: Path, *, rates_hz: tuple[int, ...], times: int = 1, seconds: float = 1.0) -> Path:
    """Write several Ogg streams one behind the other, over and over."""
    links = [synth.write_ogg(path, synth.music(seconds, sr=rate), sr=rate).read_bytes() for rate in rates_hz]
    return write_bytes(path, b"".join(links) * times)


def tiny_packets_ogg(path: Path, *, packets: int) -> Path:
    """Write a good Ogg Vorbis with pages of empty packets behind its audio."""
    content = synth.write_ogg(path, synth.music(1.0)).read_bytes()
    serial = content[14:18]
    pages = []
    for number in range(packets // 255):
        head = b"OggS\0\0" + struct.pack("<q", synth.SR) + serial + struct.pack("<II", 1_000 + number, 0) + b"\xff"
        page = bytearray(head + bytes(255))
        page[22:26] = struct.pack("<I", _ogg_crc(page))
        pages.append(bytes(page))
    return write_bytes(path, content + b"".join(pages))


def _ogg_crc(page: bytes) -> int:
    value = 0
    for byte in page:
        value = (value << 8 & 0xFFFFFFFF) ^ _OGG_TABLE[value >> 24 ^ byte]
    return value


def _ogg_table() -> list[int]:
    table = []
    for index in range(256):
        value = index << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7) & 0xFFFFFFFF if value & 0x80000000 else value << 1
        table.append(value)
    return table


_OGG_TABLE = _ogg_table()
