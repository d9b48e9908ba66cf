"""Which files were hashed since they last changed, so that a look at the list need not read gigabytes.

A note for people's eyes only: a worker hashes every file at every load, whatever is written here.
"""

import json
from contextlib import suppress
from pathlib import Path

from ironclad_assets.contracts.v1.models import StoredFile, StoredWeights
from ironclad_assets.engine_host.catalogue import Shelf
from ironclad_assets.storage import atomic

Facts = list[int | str]
"""Size, time of change in nanoseconds, inode, SHA-256."""


def _path(shelf: Shelf) -> Path:
    return shelf.folder / ".hashed.json"


def _facts(path: Path, *, sha256: str) -> Facts:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino, sha256]


def note_hashes(hashes: dict[str, str], *, shelf: Shelf) -> None:
    """Write down the SHA-256 that each named file was just found to have."""
    new = {name: _facts(shelf.path(name), sha256=sha256) for name, sha256 in hashes.items()}
    kept = {name: facts for name, facts in _read(shelf).items() if shelf.path(name).exists()}
    atomic.write_json(_path(shelf), {**kept, **new})


def remember_hashed(record: StoredWeights, *, shelf: Shelf) -> None:
    """Write down that every file of `record` was just found as it is pinned."""
    note_hashes({file.name: file.sha256 for file in record.files}, shelf=shelf)


def find_changed(record: StoredWeights, *, shelf: Shelf) -> tuple[StoredFile, ...]:
    """Return the files of `record` that were not hashed since they last changed."""
    known = _read(shelf)
    changed = []
    for file in record.files:
        try:
            if known.get(file.name, [None])[:3] != _facts(shelf.path(file.name), sha256="")[:3]:
                changed.append(file)
        except OSError:
            changed.append(file)
    return tuple(changed)


def find_differing(record: StoredWeights, *, shelf: Shelf) -> tuple[StoredFile, ...]:
    """Return the files of `record` that were found, when last hashed, to be others than pinned."""
    known = _read(shelf)
    return tuple(file for file in record.files if known.get(file.name, [file.sha256])[-1] != file.sha256)


def _read(shelf: Shelf) -> dict[str, Facts]:
    with suppress(OSError, ValueError):
        found = json.loads(_path(shelf).read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}
