"""Output of the stage `library_entry`: where the song now stands in the media library."""

from typing import Literal

from ironclad_assets.contracts.v1.base import Contract, FileRecord


class EntryFile(Contract):
    """One file in the library. `file.path` is relative to `root` in the store."""

    role: Literal["target", "stem", "dj_stems", "original", "lyrics", "cover"]
    name: str
    root: Literal["output", "output-stems"]
    file: FileRecord


class LibraryEntry(Contract):
    """Every file that this song owns in the library."""

    files: tuple[EntryFile, ...]
    replaced: tuple[str, ...] = ()
    """Paths (``root/path``) of an earlier run of the same song that were removed."""

    warnings: tuple[str, ...] = ()
    """What could not be filed beside the songs, such as lyrics where a stranger's are."""


class SongRecord(Contract):
    """`metadata.json` of a song (OUT-001), kept with the library entry's artifact."""

    contract_version: Literal[1] = 1
    song: str
    original_name: str
    user_id: str
    uploaded_at: str
    completed_at: str
    media_type: str
    duration_s: float
    sample_rate_hz: int
    channels: int
    job_uuid: str
    trace_id: str
    attempt: int
    steps_completed: tuple[str, ...]
    files: tuple[EntryFile, ...]
