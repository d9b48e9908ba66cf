"""Output of the stage `recombined_track`: the files a user asked for, encoded and tagged."""

from typing import Literal

from ironclad_assets.contracts.v1.base import AudioFormat, Contract, FileRecord, Levels
from ironclad_assets.contracts.v1.options import OutputFormat


class Track(Contract):
    """One delivered file: a target's mix, or one stem.

    `method` says how a target was made: ``sum`` of the wanted stems, or ``subtract``: the mixture minus
    the unwanted ones. `gain_db` is the one gain common to all tracks of the song.
    """

    name: str
    kind: Literal["target", "stem"]
    stems: tuple[str, ...]
    method: Literal["sum", "subtract"]
    file: FileRecord
    format: OutputFormat
    audio: AudioFormat
    levels: Levels
    tags_embedded: bool
    art_embedded: bool


class RecombinedTrack(Contract):
    """All delivered files of a song, targets first."""

    tracks: tuple[Track, ...]
    gain_db: float
    warnings: tuple[str, ...] = ()
