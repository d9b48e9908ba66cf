"""Takes names out of logs and notes: of files that others are writing, without taking those from them.

A line that names what was deleted is overwritten in its place, byte for byte as long as it was. So whoever has the
file open goes on writing at its end, nothing moves, and doing it again changes nothing.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from ironclad_assets.storage import atomic
from ironclad_assets.upkeep.erase.names import ERASED, Names
from ironclad_assets.upkeep.erase.tally import Tally, remove_path

_BLOCK_BYTES = 8 << 20
_LONGEST_LINE_BYTES = 1 << 20
_DATABASES = (".db", ".db-wal", ".db-shm", ".db-journal", ".lock")


def erase_from_folder(folder: Path, *, names: Names, tally: Tally, kind: str) -> None:
    """Remove what is named after an id, and mask the lines of everything else; databases are left alone.

    Args:
        folder: of logs or notes; one that is missing has none.
        names: what must not be found any more.
        tally: counts files that went, and lines that were masked.
        kind: under which they count.
    """
    for path in sorted(_walk(folder)):
        if names.find_ids(os.fsencode(path.name)):
            remove_path(path, tally=tally, kind=kind)
        elif path.is_file() and not path.is_symlink() and not path.name.endswith(_DATABASES):
            tally.add(f"{kind}_lines", mask_file(path, names=names))


def mask_file(path: Path, *, names: Names) -> int:
    """Overwrite each line that names one of `names`; return how many. A JSON document is written anew instead."""
    if path.suffix == ".json":
        return _mask_document(path, names=names)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        return sum(_mask_block(descriptor, start, block, names=names) for start, block in _blocks(descriptor))
    finally:
        os.close(descriptor)


def _mask_block(descriptor: int, start: int, block: bytes, *, names: Names) -> int:
    lines: dict[int, int] = {}
    for first, last in names.find(block):
        begin = block.rfind(b"\n", 0, first) + 1
        end = block.find(b"\n", last)
        lines[begin] = max(lines.get(begin, 0), len(block) if end < 0 else end)
    for begin, end in lines.items():
        line = block[begin:end]
        if os.pread(descriptor, len(line), start + begin) == line:  # else it was moved: found again next time
            os.pwrite(descriptor, _filler(len(line)), start + begin)
    if lines:
        os.fsync(descriptor)
    return len(lines)


def _filler(length: int) -> bytes:
    return ERASED.encode().ljust(length)[:length] if length >= len(ERASED) else b" " * length


def _blocks(descriptor: int) -> Iterator[tuple[int, bytes]]:
    """Yield the file in blocks of whole lines with the place of each; a line without end is cut."""
    at = 0
    while block := os.pread(descriptor, _BLOCK_BYTES, at):
        end = block.rfind(b"\n") + 1
        cut = end if end and len(block) == _BLOCK_BYTES else len(block)
        yield at, block[:cut]
        at += cut


def _mask_document(path: Path, *, names: Names) -> int:
    try:
        content = path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return 0
    try:
        value = json.loads(content)
    except ValueError:
        masked = names.masked(content)
        if masked == content:
            return 0
        atomic.write_bytes(path, masked.encode(errors="surrogateescape"))
        return 1
    changed = names.masked_value(value)
    if changed == value:
        return 0
    atomic.write_json(path, changed)
    return 1


def _walk(folder: Path) -> Iterator[Path]:
    """Yield every file and folder, folders before what is in them."""
    for current, folders, files in os.walk(folder):
        yield from (Path(current) / name for name in (*folders, *files))
