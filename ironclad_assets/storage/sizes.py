"""How many bytes an artifact has on disk, as its manifest says."""

from ironclad_assets.contracts.v1.library_entry import LibraryEntry
from ironclad_assets.contracts.v1.manifest import Manifest


def stored_size(manifest: Manifest) -> int:
    """Return the bytes on disk of an artifact, those that it has in the library included."""
    size_bytes = sum(record.size_bytes for record in manifest.files)
    if manifest.contract == LibraryEntry.__name__:
        size_bytes += sum(one.file.size_bytes for one in LibraryEntry.model_validate(manifest.payload).files)
    return size_bytes
