"""Tags of WAV and AIFF: the ID3 chunk, and the older text chunks (RIFF INFO; AIFF NAME, AUTH, ANNO).

mutagen reads neither INFO nor RF64, so the chunks are walked here. ID3 wins where both have a field.
"""

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mutagen.id3 import ID3

from ironclad_assets.audio.tag_formats.id3 import read_id3
from ironclad_assets.audio.tag_formats.mapping import INFO
from ironclad_assets.audio.tag_formats.repair import choose_encoding, decode_old
from ironclad_assets.audio.tag_formats.sheet import TagSheet

_MAX_CHUNKS = 4096
_MAX_TEXT_BYTES = 1024 * 1024
_MAX_ID3_BYTES = 64 * 1024 * 1024
_AIFF_TEXT = {b"NAME": "TITLE", b"AUTH": "ARTIST", b"ANNO": "COMMENT", b"(c) ": "COPYRIGHT"}


def read_chunks(path: Path) -> TagSheet:
    """Return the sheet of a RIFF, RF64 or AIFF file."""
    sheet = TagSheet()
    texts: list[tuple[str, bytes]] = []
    with path.open("rb") as stream:
        big_endian = stream.read(4) == b"FORM"
        for name, size in walk_chunks(stream, big_endian=big_endian):
            if name in (b"id3 ", b"ID3 ") and size <= _MAX_ID3_BYTES:
                _read_id3_chunk(sheet, stream.read(size))
            elif size > _MAX_TEXT_BYTES:
                continue
            elif name == b"LIST" and not big_endian:
                texts.extend(_info_texts(stream.read(size)))
            elif big_endian and name in _AIFF_TEXT:
                texts.append((_AIFF_TEXT[name], stream.read(size)))
    sheet.fill_from(_read_texts(texts))
    return sheet


def silence_info(path: Path) -> None:
    """Turn INFO chunks of a WAV into JUNK, where they lie: programs that ask them first would find old tags."""
    with path.open("r+b") as stream:
        found = []
        for name, _ in walk_chunks(stream, big_endian=False):
            at = stream.tell() - 8
            if name == b"LIST" and stream.read(4) == b"INFO":
                found.append(at)
        for at in found:
            stream.seek(at)
            stream.write(b"JUNK")


def walk_chunks(stream: BinaryIO, *, big_endian: bool) -> Iterator[tuple[bytes, int]]:
    """Yield name and size of each chunk, the stream standing at its content."""
    length = stream.seek(0, io.SEEK_END)
    at, wide_data = 12, 0
    for _ in range(_MAX_CHUNKS):
        stream.seek(at)
        header = stream.read(8)
        if len(header) < 8:
            return
        name = header[:4]
        (size,) = struct.unpack(">I" if big_endian else "<I", header[4:])
        if name == b"ds64":
            (wide_data,) = struct.unpack("<8xQ", stream.read(16))
            stream.seek(at + 8)
        if name == b"data" and wide_data:
            size = wide_data
        yield name, min(size, length - at - 8)
        at += 8 + size + size % 2


def _read_id3_chunk(sheet: TagSheet, content: bytes) -> None:
    try:
        sheet.fill_from(read_id3(ID3(io.BytesIO(content))))
    except Exception as error:  # noqa: BLE001 - mutagen raises what it likes; the text chunks are still to be read
        sheet.warn(f"the ID3 chunk cannot be read ({type(error).__name__}: {error})")


def _info_texts(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield name and text of what a LIST chunk of type INFO says."""
    if content[:4] != b"INFO":
        return
    at = 4
    while at + 8 <= len(content):
        name = content[at : at + 4].decode("ascii", "replace")
        (size,) = struct.unpack_from("<I", content, at + 4)
        yield INFO.get(name.upper(), name), content[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _read_texts(texts: list[tuple[str, bytes]]) -> TagSheet:
    """Return the sheet of texts in no declared encoding: UTF-8 where they are, else what the file's others are."""
    sheet = TagSheet()
    texts = [(name, content.partition(b"\0")[0]) for name, content in texts]
    encoding = choose_encoding(content for _, content in texts)
    if not encoding.certain:
        sheet.warn("the text chunks look as if they were written in another encoding than Windows-1252")
    for name, content in texts:
        value = decode_old(content, encoding=encoding)
        if name in ("TRACKNUMBER", "IPRT"):
            sheet.add_numbered("TRACKNUMBER", total="TRACKTOTAL", value=value)
        else:
            sheet.add(name, [value])
    return sheet
