"""SHA-256 of files and of JSON values, in one spelling everywhere."""

import hashlib
import json
from pathlib import Path
from typing import Any

from ironclad_assets.contracts.v1.base import FileRecord

BLOCK_BYTES = 1024 * 1024


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in constant memory."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_json(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return the SHA-256 of `value` as canonical JSON (sorted keys, no spaces, UTF-8)."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def record_file(path: Path, *, base: Path) -> FileRecord:
    """Return size and SHA-256 of the file at `path`, named relative to `base`."""
    return FileRecord(path=path.relative_to(base).as_posix(), size_bytes=path.stat().st_size, sha256=hash_file(path))
