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
from ironclad_assets.audio.tag_formats.sheet import TagSheet

_MAX_CHUNKS = 4096
_MAX_TEXT_BYTES = 1024 * 1024
_MAX_ID3_BYTES = 64 * 1024 * 1024
_INFO = {
    b"INAM": "TITLE", b"IART": "ARTIST", b"IPRD": "ALBUM", b"ICRD": "DATE", b"IGNR": "GENRE", b"ICMT": "COMMENT",
    b"IMUS": "COMPOSER", b"ICOP": "COPYRIGHT", b"ISFT": "ENCODER", b"IENG": "ENGINEER", b"ILNG": "LANGUAGE",
    b"IKEY": "KEYWORDS", b"ISBJ": "SUBJECT", b"ISRC": "SOURCE",
}  # fmt: skip
_AIFF_TEXT = {b"NAME": "TITLE", b"AUTH": "ARTIST", b"ANNO": "COMMENT", b"(c) ": "COPYRIGHT"}


def read_chunks(path: Path) -> TagSheet:
    """Return the sheet of a RIFF, RF64 or AIFF file."""
    from_id3, from_text = TagSheet(), TagSheet()
    with path.open("rb") as stream:
        big_endian = stream.read(4) == b"FORM"
        for name, size in walk_chunks(stream, big_endian=big_endian):
            if name in (b"id3 ", b"ID3 ") and size <= _MAX_ID3_BYTES:
                from_id3.fill_from(read_id3(ID3(io.BytesIO(stream.read(size)))))
            elif size > _MAX_TEXT_BYTES:
                continue
            elif name == b"LIST" and not big_endian:
                _read_info(from_text, stream.read(size))
            elif big_endian and name in _AIFF_TEXT:
                from_text.add(_AIFF_TEXT[name], [_decode(stream.read(size))])
    from_id3.fill_from(from_text)
    return from_id3


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


def _read_info(sheet: TagSheet, content: bytes) -> None:
    """Add what a LIST chunk of type INFO says."""
    if content[:4] != b"INFO":
        return
    at = 4
    while at + 8 <= len(content):
        name = content[at : at + 4]
        (size,) = struct.unpack_from("<I", content, at + 4)
        value = _decode(content[at + 8 : at + 8 + size])
        if name in (b"ITRK", b"IPRT"):
            sheet.add_numbered("TRACKNUMBER", total="TRACKTOTAL", value=value)
        else:
            sheet.add(_INFO.get(name, name.decode("ascii", "replace")), [value])
        at += 8 + size + size % 2


def _decode(data: bytes) -> str:
    """Return the text up to the first NUL: UTF-8 where it is, else Windows-1252, which INFO was made for."""
    text = data.partition(b"\0")[0]
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("cp1252", "replace")
