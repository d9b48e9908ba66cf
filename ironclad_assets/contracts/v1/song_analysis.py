"""Output of the asset `song_analysis`: loudness, tempo, beats and key of a song, and what a visualiser draws.

Measured after the song is complete, from its staged mixture and stems. What could not be found out is null;
how sure a finding is stands beside it.
"""

from typing import Annotated, Literal

from pydantic import Field

from ironclad_assets.contracts.v1.base import Contract, FileRecord

Tonic = Literal["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"]
Mode = Literal["major", "minor"]
Camelot = Annotated[str, Field(pattern=r"^(1[0-2]|[1-9])[AB]$")]
Confidence = Annotated[float, Field(ge=0.0, le=1.0)]
"""0: a guess that is not worth telling, 1: as clear as it gets. How each is computed is in docs/analysis.md."""

ANALYSIS_FILE = "analysis.json"


class Tempo(Contract):
    """Beats per minute; None where no beat was found, with the confidence of what was left out."""

    bpm: float | None = Field(default=None, gt=0)
    confidence: Confidence = 0.0


class Key(Contract):
    """Tonic and mode with their code on the Camelot wheel; None where no key was found.

    `tuning_cents` is how far the song's tuning is from A = 440 Hz.
    """

    tonic: Tonic | None = None
    mode: Mode | None = None
    camelot: Camelot | None = None
    confidence: Confidence = 0.0
    tuning_cents: float | None = Field(default=None, ge=-50.0, le=50.0)


class SourceLoudness(Contract):
    """How loud the mixture or a stem is, as staged; None where it is silent, or too short for a range."""

    name: str
    loudness_lufs: float | None
    loudness_range_lu: float | None = None
    """EBU Tech 3342; of the mixture alone."""

    true_peak_dbtp: float | None


class SongAnalysis(Contract):
    """What was measured of one song. The first of `sources` is the mixture, the others are the stems."""

    duration_s: float = Field(ge=0)
    sources: tuple[SourceLoudness, ...] = Field(min_length=1)
    tempo: Tempo
    key: Key
    beats_s: tuple[float, ...] = ()
    """Times of the beats from the start of the song, increasing."""

    file: FileRecord
    """`analysis.json`: all of this and the envelopes, for programs that draw (`AnalysisDocument`)."""

    warnings: tuple[str, ...] = ()


class DrawnSource(SourceLoudness):
    """A source with its envelope: `peak` and `rms` of each step, over all channels, 1.0 is full scale."""

    peak: tuple[float, ...]
    rms: tuple[float, ...]


class AnalysisDocument(Contract):
    """`analysis.json`, the file for visualisers. Point *i* of an envelope is of i/rate to (i+1)/rate seconds."""

    contract_version: Literal[1] = 1
    duration_s: float = Field(ge=0)
    tempo: Tempo
    key: Key
    beats_s: tuple[float, ...]
    envelope_rate_hz: int = Field(ge=1)
    sources: tuple[DrawnSource, ...] = Field(min_length=1)
