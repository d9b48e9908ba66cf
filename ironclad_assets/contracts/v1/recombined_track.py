"""Output of the stage `recombined_track`: the files a user asked for, encoded and tagged."""

from typing import Literal

from ironclad_assets.contracts.v1.base import AudioFormat, Contract, FileRecord, Levels
from ironclad_assets.contracts.v1.options import OutputFormat, SampleFormat


class Track(Contract):
    """One delivered file: a target's mix, or one stem; the stem ``residual`` is what all stems leave of the mixture.

    `method` says how a track was made: ``sum`` of the wanted stems, or ``subtract``: the mixture minus
    the unwanted ones.
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
    """All delivered files of a song, targets first.

    `gain_db` is the one gain common to all of them. Lossless files have a `sample_format`, lossy ones a
    `bitrate_kbps`; None in results of earlier versions.
    """

    tracks: tuple[Track, ...]
    gain_db: float
    sample_format: SampleFormat | None = None
    bitrate_kbps: int | None = None
    warnings: tuple[str, ...] = ()
