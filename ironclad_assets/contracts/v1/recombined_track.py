"""Output of the stage `recombined_track`: the files a user asked for, encoded and tagged."""

from typing import Literal

from ironclad_assets.contracts.v1.base import AudioFormat, Contract, FileRecord, Levels
from ironclad_assets.contracts.v1.formats import OutputFormat, SampleFormat

DJ_STEMS = "dj_stems"
"""Name and kind of the one file that holds the mixture and four stems, for DJ programs."""

DJ_STEMS_EXTENSION = "stem.mp4"
"""By which DJ programs know such a file."""


class Track(Contract):
    """One delivered file: a target's mix, or one stem; the stem ``residual`` is what all stems leave of the mixture.

    `method` says how a track was made: ``sum`` of the wanted stems, or ``subtract``: the mixture minus
    the unwanted ones. A file of the kind ``dj_stems`` holds five streams of audio: the mixture, which its
    `levels` describe, then drums, bass, what is left of the mixture without them and the vocals, and the vocals.
    """

    name: str
    kind: Literal["target", "stem", "dj_stems"]
    stems: tuple[str, ...]
    method: Literal["sum", "subtract"]
    file: FileRecord
    format: OutputFormat
    audio: AudioFormat
    levels: Levels
    tags_embedded: bool
    art_embedded: bool

    @property
    def extension(self) -> str:
        return DJ_STEMS_EXTENSION if self.kind == DJ_STEMS else self.format.value


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
