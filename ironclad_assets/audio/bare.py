"""Audio files without the tags in front of them, where those are many: for decoding, which needs none.

FFmpeg puts each tag into a list that it searches from the beginning, so that a hundred thousand of them take it
minutes. Tags are read by `tags`, which stops early.
"""

import io
from pathlib import Path

from ironclad_assets.audio.sniff import read_id3_length

_MANY_COMMENTS = 2_000
_LARGE_ID3_BYTES = 128 * 1024
_STREAMINFO, _COMMENTS = 0, 4
_LAST = 0x80
_MOST_BLOCKS = 1_000
_MARKER = b"fLaC"


def count_skipped(path: Path) -> int:
    """Return how many bytes of ID3 tags at the beginning of the file at `path` to leave out: all of large ones."""
    length = read_id3_length(path)
    return length if length > _LARGE_ID3_BYTES else 0


def open_without_comments(path: Path) -> "BareFile | None":
    """Return the FLAC file at `path` without its metadata but STREAMINFO, or None where it has few comments."""
    with path.open("rb") as stream:
        if stream.read(4) != _MARKER:
            return None
        head, many, offset = b"", False, 4
        for _ in range(_MOST_BLOCKS):
            stream.seek(offset)
            block = stream.read(4)
            if len(block) < 4:
                return None
            kind, length = block[0] & ~_LAST, int.from_bytes(block[1:], "big")
            if kind == _STREAMINFO:
                head = _MARKER + bytes([_LAST | _STREAMINFO]) + block[1:] + stream.read(length)
            elif kind == _COMMENTS:
                many = many or _count_comments(stream) > _MANY_COMMENTS
            offset += 4 + length
            if block[0] & _LAST:
                break
    return BareFile(path, head=head, start=offset) if many and head else None


def _count_comments(stream: io.BufferedReader) -> int:
    vendor = int.from_bytes(stream.read(4), "little")
    stream.seek(vendor, io.SEEK_CUR)
    return int.from_bytes(stream.read(4), "little")


class BareFile(io.RawIOBase):
    """A readable file: `head`, then what stands in the file at `path` from byte `start` on."""

    def __init__(self, path: Path, *, head: bytes, start: int) -> None:
        self._head = head
        self._start = start
        self._file = path.open("rb")
        self._size = len(head) + max(0, path.stat().st_size - start)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        wanted = self._size if size < 0 else size
        content = self._head[self._at : self._at + wanted]
        if len(content) < wanted:
            behind = self._at + len(content) - len(self._head)
            self._file.seek(self._start + behind)
            content += self._file.read(wanted - len(content))
        self._at += len(content)
        return content

    def close(self) -> None:
        self._file.close()
        super().close()
