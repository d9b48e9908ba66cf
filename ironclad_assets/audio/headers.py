"""What the headers of WAV, FLAC and AIFF claim, read by ourselves and believed by nobody.

A decoding library trims a claim to what the file can hold, so that a lie goes unseen; the probe compares
these numbers with the samples it decoded. Other containers are asked through the decoder.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ironclad_assets.audio import sniff

_MAX_CHUNKS = 1000
_FIRST_FRAME_BYTES = 2048
_MAX_MOVIE_BYTES = 32 * 1024**2
_ENCRYPTED_ENTRIES = (b"enca", b"encv", b"drms")
_REFERENCES = (b"url ", b"urn ", b"alis", b"rsrc")
_IN_THIS_FILE = 1
_MAX_REFERENCES = 100
_LENGTH_MARKS = (b"Xing", b"Info", b"VBRI")
_UNKNOWN_LENGTHS = (0, 0x7FFFFFFF, 0x7FFFF000, 0xFFFFFFFF, 0xFFFFF000)
"""Data lengths that streaming writers leave behind: they mean "to the end of the file"."""


@dataclass(frozen=True, slots=True)
class Claims:
    """A header's claims; None where it makes none. `frames` is samples per channel."""

    sample_rate_hz: int | None = None
    channels: int | None = None
    bit_depth: int | None = None
    frames: int | None = None
    possible: bool = True
    """Whether a file of this size could hold that many frames."""

    counted: bool = True
    """False where the container has no length and a library would estimate one from the bit rate."""


def read_claims(path: Path, *, kind: sniff.Kind) -> Claims:
    """Return what the header of the file at `path` says."""
    if kind in (sniff.MP3, sniff.ADTS):
        head = sniff.read_head(path)[:_FIRST_FRAME_BYTES]
        return Claims(counted=kind is sniff.MP3 and any(mark in head for mark in _LENGTH_MARKS))
    readers = {sniff.WAV: _read_wav, sniff.FLAC: _read_flac, sniff.AIFF: _read_aiff}
    reader = readers.get(kind)
    if reader is None:
        return Claims()
    with path.open("rb") as stream:
        try:
            return reader(stream, path.stat().st_size)
        except struct.error:
            return Claims()


def _chunks(stream: BinaryIO, *, size: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield id, offset of the content, and claimed length of each chunk."""
    offset = 12
    for _ in range(_MAX_CHUNKS):
        stream.seek(offset)
        head = stream.read(8)
        if len(head) < 8:
            return
        name, length = struct.unpack(f"{order}4sI", head)
        yield name, offset + 8, length
        offset += 8 + length + (length & 1)
        if offset >= size:
            return


def _read_wav(stream: BinaryIO, size: int) -> Claims:
    rate = channels = bits = block = data = None
    long_data = 0
    for name, offset, length in _chunks(stream, size=size, order="<"):
        stream.seek(offset)
        if name == b"ds64":
            long_data = struct.unpack("<QQQ", stream.read(24))[1]
        elif name == b"fmt ":
            _, channels, rate, _, block, bits = struct.unpack("<HHIIHH", stream.read(16))
        elif name == b"data":
            data = length if length != 0xFFFFFFFF or not long_data else long_data
            streamed = data in _UNKNOWN_LENGTHS and offset + data != size
            data = None if streamed else data
            break
    frames = data // block if data is not None and block else None
    return Claims(rate, channels, bits or None, frames, possible=data is None or data <= size)


def _read_aiff(stream: BinaryIO, size: int) -> Claims:
    for name, offset, _ in _chunks(stream, size=size, order=">"):
        if name == b"COMM":
            stream.seek(offset)
            channels, frames, bits, exponent, mantissa = struct.unpack(">hIhHQ", stream.read(18))
            rate = mantissa >> (16446 - exponent) if 16383 <= exponent <= 16446 else 0
            return Claims(rate, channels, bits, frames, possible=frames <= size * 8)
    return Claims()


def _read_flac(stream: BinaryIO, size: int) -> Claims:
    start = stream.read(65536).find(b"fLaC")
    stream.seek(max(start, 0) + 8)
    info = stream.read(18)
    if start < 0 or len(info) < 18:
        return Claims()
    largest_block = int.from_bytes(info[2:4], "big")
    packed = int.from_bytes(info[10:18], "big")
    rate, channels, bits = packed >> 44, (packed >> 41 & 7) + 1, (packed >> 36 & 31) + 1
    frames = packed & (1 << 36) - 1
    smallest_frame_bytes = 8
    possible = frames <= size // smallest_frame_bytes * max(largest_block, 16)
    return Claims(rate, channels, bits, frames or None, possible=possible)


def is_encrypted_mp4(path: Path) -> bool:
    """Return whether a track of the MP4 file at `path` is stored encrypted.

    Read here because FFmpeg shows an encrypted track under the name of the codec inside it, and then
    decodes noise or nothing.
    """
    return _lists_encrypted_entry(_read_movie(path))


def names_other_file(path: Path) -> bool:
    """Return whether a track of the MP4 file at `path` says that its samples lie in another file.

    FFmpeg does not follow that here, and then finds no samples or, by their offsets, wrong ones.
    """
    return _lists_outside_reference(_read_movie(path))


def _read_movie(path: Path) -> bytes:
    """Return the first movie box of an MP4 file, at most 32 MiB of it; empty where there is none."""
    with path.open("rb") as stream:
        size, offset = path.stat().st_size, 0
        for _ in range(_MAX_CHUNKS):
            stream.seek(offset)
            head = stream.read(16)
            if len(head) < 8:
                break
            length = int.from_bytes(head[:4], "big") or size - offset
            length = int.from_bytes(head[8:16], "big") if length == 1 else length
            if head[4:8] == b"moov":
                stream.seek(offset)
                return stream.read(min(length, _MAX_MOVIE_BYTES))
            offset += max(length, 8)
            if offset >= size:
                break  # also where a length is larger than any file
    return b""


def _lists_encrypted_entry(movie: bytes) -> bool:
    """Return whether a sample description box in `movie` begins with an encrypted entry."""
    at = movie.find(b"stsd")
    while at >= 0:
        if movie[at + 16 : at + 20] in _ENCRYPTED_ENTRIES:
            return True
        at = movie.find(b"stsd", at + 4)
    return False


def _lists_outside_reference(movie: bytes) -> bool:
    """Return whether a data reference box in `movie` has an entry that is not flagged as "in this file"."""
    at = movie.find(b"dref")
    while at >= 0:
        count, entry = int.from_bytes(movie[at + 8 : at + 12], "big"), at + 12
        for _ in range(min(count, _MAX_REFERENCES)):
            length, kind = int.from_bytes(movie[entry : entry + 4], "big"), movie[entry + 4 : entry + 8]
            if kind in _REFERENCES and not int.from_bytes(movie[entry + 8 : entry + 12], "big") & _IN_THIS_FILE:
                return True
            entry += max(length, 12)
        at = movie.find(b"dref", at + 4)
    return False
