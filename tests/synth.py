"""Audio for tests, made from oscillators and seeded noise: nothing random, nothing downloaded.

Signals are float32 arrays of shape (channels, frames), full scale 1.0; writers take a path and return it.
The second half makes files that are wrong on purpose; what the product must answer to each is the tests' matter.
"""

import io
import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import soundfile as sf
from numpy.typing import NDArray
from PIL import Image

SR = 44_100
"""Sample rate of every signal that names no other, in Hz."""

Signal = NDArray[np.float32]

HOSTILE_NAMES: tuple[bytes, ...] = (
    b"..%2f..%2fetc%2fpasswd.flac",
    b"--help.flac",
    b"-rf.flac",
    b"new\nline.flac",
    b"tab\tand\rreturn.flac",
    b"not \xff\xfe utf-8.flac",
    "right\u202eto left.flac".encode(),
    "cafe\u0301 decomposed.flac".encode(),
    b"CON.flac",
    b'quote\'s "and" `ticks` $(id).flac',
    b"n" * 250 + b".flac",
    "\U0001f3b5 emoji.flac".encode(),
)
"""File names that Linux takes and programs trip over; each is at most 255 bytes."""


# Signals


def _time(seconds: float, sr: int) -> NDArray[np.float64]:
    return np.arange(round(seconds * sr), dtype=np.float64) / sr


def _spread(mono: NDArray[Any], channels: int) -> Signal:
    return np.ascontiguousarray(np.broadcast_to(mono, (channels, mono.shape[-1])), dtype=np.float32)


def tone(
    seconds: float = 1.0, *, frequency_hz: float = 440.0, sr: int = SR, channels: int = 2, level: float = 0.5
) -> Signal:
    """Return a sine of peak `level`."""
    return _spread(level * np.sin(2 * np.pi * frequency_hz * _time(seconds, sr)), channels)


def sweep(
    seconds: float = 1.0,
    *,
    start_hz: float = 20.0,
    end_hz: float = 20_000.0,
    sr: int = SR,
    channels: int = 2,
    level: float = 0.5,
) -> Signal:
    """Return a sine whose frequency rises exponentially from `start_hz` to `end_hz`."""
    time = _time(seconds, sr)
    rate = np.log(end_hz / start_hz) / seconds
    return _spread(level * np.sin(2 * np.pi * start_hz / rate * np.expm1(rate * time)), channels)


def noise(seconds: float = 1.0, *, seed: int = 0, sr: int = SR, channels: int = 2, level: float = 0.1) -> Signal:
    """Return white Gaussian noise of RMS `level`, independent in each channel, clipped to full scale."""
    y = level * np.random.default_rng(seed).standard_normal((channels, round(seconds * sr)))
    return np.clip(y, -1.0, 1.0).astype(np.float32)


def clicks(
    seconds: float = 1.0, *, period_s: float = 0.25, sr: int = SR, channels: int = 2, level: float = 0.9
) -> Signal:
    """Return single-sample clicks, the first at frame 0."""
    mono = np.zeros(round(seconds * sr))
    mono[:: round(period_s * sr)] = level
    return _spread(mono, channels)


def silence(seconds: float = 1.0, *, sr: int = SR, channels: int = 2) -> Signal:
    return np.zeros((channels, round(seconds * sr)), dtype=np.float32)


def music(seconds: float = 4.0, *, seed: int = 0, sr: int = SR) -> Signal:
    """Return stereo in which every kind of source sounds: chords wide, bass and voice centred, clicks, noise."""
    time = _time(seconds, sr)
    chord = sum(np.sin(2 * np.pi * hz * time) for hz in (220.0, 277.18, 329.63))
    voice = np.sin(2 * np.pi * 440.0 * time + 3.0 * np.sin(2 * np.pi * 5.5 * time))
    bass = np.sin(2 * np.pi * 55.0 * time)
    centre = 0.15 * voice + 0.2 * bass
    y = np.stack([centre + 0.05 * chord, centre - 0.05 * chord]).astype(np.float32)
    y += clicks(seconds, period_s=0.5, sr=sr, level=0.3) + noise(seconds, seed=seed, sr=sr, level=0.005)
    return y


def db(value: float) -> float:
    """Return the amplitude `value` in dB; -inf for zero."""
    return float(20 * np.log10(value)) if value > 0 else float("-inf")


def rms_db(y: NDArray[Any]) -> float:
    """Return the RMS of `y` in dB of full scale."""
    return db(float(np.sqrt(np.mean(np.square(y, dtype=np.float64)))))


# Good files


def write_wav(path: Path, y: Signal, *, sr: int = SR, subtype: str = "PCM_16") -> Path:
    sf.write(path, y.T, sr, format="WAV", subtype=subtype)
    return path


def write_flac(path: Path, y: Signal, *, sr: int = SR, subtype: str = "PCM_16") -> Path:
    sf.write(path, y.T, sr, format="FLAC", subtype=subtype)
    return path


def write_mp3(path: Path, y: Signal, *, sr: int = SR) -> Path:
    sf.write(path, y.T, sr, format="MP3", subtype="MPEG_LAYER_III")
    return path


def write_ogg(path: Path, y: Signal, *, sr: int = SR, subtype: str = "VORBIS") -> Path:
    sf.write(path, y.T, sr, format="OGG", subtype=subtype)
    return path


def write_raw(path: Path, y: Signal) -> Path:
    """Write staged audio: interleaved little-endian float32, shape (frames, channels) on disk."""
    path.write_bytes(np.ascontiguousarray(y.T, dtype="<f4").tobytes())
    return path


def read_raw(path: Path, *, channels: int) -> Signal:
    """Return staged audio as shape (channels, frames)."""
    return np.fromfile(path, dtype="<f4").reshape(-1, channels).T


def read_audio(path: Path) -> tuple[Signal, int]:
    """Return (y, sr) of any file that soundfile reads."""
    y, sr = sf.read(path, dtype="float32", always_2d=True)
    return np.ascontiguousarray(y.T), sr


def good_song(path: Path, *, seconds: float = 4.0, seed: int = 0, **tags: str) -> Path:
    """Write music as the extension of `path` asks for (flac, wav, mp3, ogg), with `tags` where it takes them."""
    writers = {".flac": write_flac, ".wav": write_wav, ".mp3": write_mp3, ".ogg": write_ogg}
    writers[path.suffix](path, music(seconds, seed=seed))
    return tag(path, **tags) if tags else path


def tag(path: Path, **tags: str) -> Path:
    """Set tags by their common names (title, artist, album, albumartist, tracknumber, date, genre)."""
    audio = mutagen.File(path, easy=True)
    if audio.tags is None:
        audio.add_tags()
    for name, value in tags.items():
        audio[name] = value
    audio.save()
    return path


def png(path: Path, *, size_px: int = 64) -> Path:
    """Write a square picture with a gradient, so that it does not shrink to nothing."""
    ramp = np.linspace(0, 255, size_px, dtype=np.uint8)
    pixels = np.stack([*np.meshgrid(ramp, ramp), np.full((size_px, size_px), 90, np.uint8)], axis=-1)
    Image.fromarray(pixels, "RGB").save(path, "PNG")
    return path


# Files that are wrong


def zero_bytes(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def random_bytes(path: Path, *, size_bytes: int = 100_000, seed: int = 0) -> Path:
    path.write_bytes(np.random.default_rng(seed).bytes(size_bytes))
    return path


def cut_file(path: Path, *, share: float) -> Path:
    """Cut the file at `path` down to `share` of its bytes, in place."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def half_mp3(path: Path, *, seconds: float = 6.0) -> Path:
    """Write an MP3 with a Xing header that promises `seconds`, cut in the middle."""
    return cut_file(write_mp3(path, music(seconds)), share=0.5)


def zip_file(path: Path) -> Path:
    """Write a zip archive, whatever `path` is called."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("song.mp3"), b"\0" * 1_000_000)
    return path


def hls_text(path: Path, *, target: str = "file:///etc/passwd") -> Path:
    """Write an HLS playlist that names `target`."""
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10.0,\n{target}\n#EXT-X-ENDLIST\n", encoding="utf-8")
    return path


def ffconcat_text(path: Path, *, target: str = "secret.wav") -> Path:
    """Write an ffconcat script that names `target`."""
    path.write_text(f"ffconcat version 1.0\nfile '{target}'\n", encoding="utf-8")
    return path


def playlist_text(path: Path, *, target: str = "/etc/passwd") -> Path:
    """Write a plain M3U list."""
    path.write_text(f"#EXTM3U\n{target}\n", encoding="utf-8")
    return path


def wav_header(
    *,
    sr: int = SR,
    channels: int = 2,
    bits: int = 16,
    codec: int = 1,
    data_bytes: int,
    claimed_bytes: int | None = None,
) -> bytes:
    """Return 44 bytes of RIFF/WAVE header that claim whatever they are told to.

    Args:
        codec: 1 for PCM, 3 for float, anything else for nonsense.
        data_bytes: the true size of what follows.
        claimed_bytes: what the data chunk says instead; default: the truth.
    """
    claimed = data_bytes if claimed_bytes is None else claimed_bytes
    block = max(channels * bits // 8, 1)
    riff = struct.pack("<4sI4s", b"RIFF", min(36 + claimed, 0xFFFFFFFF), b"WAVE")
    layout = struct.pack("<HHIIHH", codec, channels, sr, min(sr * block, 0xFFFFFFFF), min(block, 0xFFFF), bits)
    return riff + b"fmt " + struct.pack("<I", 16) + layout + b"data" + struct.pack("<I", claimed)


def odd_wav(path: Path, *, frames: int = SR, **claims: Any) -> Path:
    """Write a WAV of 16 bit stereo noise whose header makes `claims` (see `wav_header`)."""
    body = (noise(frames / SR) * 32767).astype("<i2").T.tobytes()
    path.write_bytes(wav_header(data_bytes=len(body), **claims) + body)
    return path


def one_hertz_wav(path: Path, *, frames: int = 2_000) -> Path:
    """Write a WAV of `frames` frames that claims a sample rate of 1 Hz."""
    return odd_wav(path, frames=frames, sr=1)


def header_only_wav(path: Path) -> Path:
    """Write a WAV header with no samples behind it."""
    path.write_bytes(wav_header(data_bytes=0))
    return path


def endless_wav(path: Path, *, frames: int = 2 * SR) -> Path:
    """Write a WAV as streaming programs do: a data size of 0xFFFFFFFF, but `frames` true frames."""
    return odd_wav(path, frames=frames, claimed_bytes=0xFFFFFFFF)


def nan_wav(path: Path, *, seconds: float = 1.0, value: float = float("nan")) -> Path:
    """Write a float WAV with one non-finite sample (NaN, or the `value` given) in the middle."""
    y = tone(seconds)
    y[0, y.shape[1] // 2] = value
    return write_wav(path, y, subtype="FLOAT")


def lying_flac(path: Path, *, claimed_frames: int = 2**36 - 1, seconds: float = 2.0) -> Path:
    """Write a good FLAC whose STREAMINFO claims `claimed_frames` frames (36 bits)."""
    write_flac(path, music(seconds))
    content = bytearray(path.read_bytes())
    if content[:4] != b"fLaC" or content[4] & 0x7F != 0:
        raise AssertionError("STREAMINFO is not the first block")
    facts = int.from_bytes(content[18:26], "big")  # 20 bits rate, 3 channels, 5 depth, 36 total samples
    content[18:26] = (facts >> 36 << 36 | claimed_frames).to_bytes(8, "big")
    path.write_bytes(bytes(content))
    return path


def silent_flac(path: Path, *, seconds: float = 36_000.0, sr: int = 8_000) -> Path:
    """Write digital silence as 16 bit mono FLAC frames of 65,535 samples: ten hours take 66 kB.

    The bit stream is written by hand (RFC 9639: constant subframes), since an encoder would have to be fed
    every sample and libsndfile's makes frames of 4,096.
    """
    total, block = round(seconds * sr), 65_535
    facts = sr << 44 | 0 << 41 | 15 << 36 | total
    info = struct.pack(">HH", block, block) + b"\0" * 6 + facts.to_bytes(8, "big") + b"\0" * 16
    with path.open("wb") as stream:
        stream.write(b"fLaC\x80" + len(info).to_bytes(3, "big") + info)
        for number, start in enumerate(range(0, total, block)):
            stream.write(_silent_flac_frame(number, min(block, total - start)))
    return path


def _silent_flac_frame(number: int, frames: int) -> bytes:
    rate_from_streaminfo, mono_16_bit = 0, 0b0000_100_0
    header = bytes([0xFF, 0xF8, 0b0111_0000 | rate_from_streaminfo, mono_16_bit])
    header += _flac_number(number) + struct.pack(">H", frames - 1)
    frame = header + bytes([_crc(header, width=8, polynomial=0x07)]) + b"\0" + b"\0\0"
    return frame + struct.pack(">H", _crc(frame, width=16, polynomial=0x8005))


def _flac_number(number: int) -> bytes:
    """Return a frame number below 65,536 in FLAC's UTF-8 like code."""
    if number < 0x80:
        return bytes([number])
    if number < 0x800:
        return bytes([0xC0 | number >> 6, 0x80 | number & 0x3F])
    return bytes([0xE0 | number >> 12, 0x80 | number >> 6 & 0x3F, 0x80 | number & 0x3F])


def _crc(content: Iterable[int], *, width: int, polynomial: int) -> int:
    value, top, mask = 0, 1 << (width - 1), (1 << width) - 1
    for byte in content:
        value ^= byte << (width - 8)
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
    return value


def climbing_tags(path: Path) -> Path:
    """Write a good FLAC whose tags try to leave the library."""
    return good_song(
        path,
        title="../../../../tmp/escaped",
        artist="../../etc",
        album="..",
        albumartist="/absolute/../../path",
        tracknumber="../1",
        genre="a\nb",
    )


def huge_picture(path: Path, *, side_px: int = 30_000) -> Path:
    """Write a PNG of a few hundred kB that unpacks to `side_px` squared pixels."""
    stream = io.BytesIO()
    Image.new("1", (side_px, side_px)).save(stream, "PNG")
    path.write_bytes(stream.getvalue())
    return path
