"""The ID3 chunk of an RF64, a WAV beyond 4 GiB, which mutagen cannot write. EBU Tech 3306.

The chunk is the last of the file, so that no audio is moved.
"""

import os
import struct
from pathlib import Path

from ironclad_assets.audio.tag_formats.chunks import walk_chunks

_NAME = b"id3 "
_SIZES_OFFSET = 20
"""Where the 64 bit size of the whole file stands: in ds64, the first chunk."""


def is_rf64(path: Path) -> bool:
    """Return whether the file is an RF64."""
    with path.open("rb") as stream:
        return stream.read(4) == b"RF64"


def replace_rf64_id3(path: Path, content: bytes) -> None:
    """Put `content` into the file's ID3 chunk, at its end.

    Raises:
        ValueError: the file does not begin as an RF64 does, or its ID3 chunk is not its last.
    """
    with path.open("r+b") as stream:
        head = stream.read(_SIZES_OFFSET)
        if head[:4] != b"RF64" or head[12:16] != b"ds64":
            raise ValueError("not an RF64 with its sizes in front")
        end = stream.seek(0, os.SEEK_END)
        for name, size in walk_chunks(stream, big_endian=False):
            at = stream.tell()
            if name == _NAME:
                if at + size + size % 2 < end:
                    raise ValueError("the ID3 chunk is not the last")
                end = at - 8
        padded = content + b"\0" * (len(content) % 2)
        stream.seek(end)
        stream.write(b"\0" * (end % 2) + _NAME + struct.pack("<I", len(content)) + padded)
        length = stream.tell()
        stream.truncate()
        stream.seek(_SIZES_OFFSET)
        stream.write(struct.pack("<Q", length - 8))
        stream.flush()
        os.fsync(stream.fileno())
