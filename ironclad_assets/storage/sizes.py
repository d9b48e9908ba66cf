"""How many bytes are on disk: of an artifact as its manifest says, of a file as the file system says."""

import os

from ironclad_assets.contracts.v1.library_entry import LibraryEntry
from ironclad_assets.contracts.v1.manifest import Manifest

_BLOCK_BYTES = 512
"""What `st_blocks` counts, whatever the file system has for blocks."""


def occupied_bytes(status: os.stat_result) -> int:
    """Return how much of the disk a file takes: less than its size where it has holes."""
    return min(status.st_size, status.st_blocks * _BLOCK_BYTES)


def stored_size(manifest: Manifest) -> int:
    """Return the bytes on disk of an artifact, those that it has in the library included."""
    size_bytes = sum(record.size_bytes for record in manifest.files)
    if manifest.contract == LibraryEntry.__name__:
        size_bytes += sum(one.file.size_bytes for one in LibraryEntry.model_validate(manifest.payload).files)
    return size_bytes
