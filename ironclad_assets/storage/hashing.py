"""SHA-256 of files and of JSON values, in one spelling everywhere."""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ironclad_assets.contracts.v1.base import FileRecord

BLOCK_BYTES = 1024 * 1024


def carry_on() -> None:
    """Heed nothing: the default of work that nobody may interrupt."""


def hash_file(path: Path, *, heed: Callable[[], None] = carry_on) -> str:
    """Return the SHA-256 of a file's bytes, in constant memory.

    Args:
        path: the file.
        heed: called between blocks; what it raises ends the work.
    """
    digest = hashlib.sha256()
    block = memoryview(bytearray(BLOCK_BYTES))
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(block):
            digest.update(block[:count])
            heed()
    return digest.hexdigest()


def hash_bytes(blocks: Iterable[bytes]) -> str:
    """Return the SHA-256 of the blocks, one after the other."""
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def hash_json(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return the SHA-256 of `value` as canonical JSON (sorted keys, no spaces, UTF-8)."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def record_file(path: Path, *, base: Path, heed: Callable[[], None] = carry_on) -> FileRecord:
    """Return size and SHA-256 of the file at `path`, named relative to `base`."""
    return FileRecord(
        path=path.relative_to(base).as_posix(), size_bytes=path.stat().st_size, sha256=hash_file(path, heed=heed)
    )
