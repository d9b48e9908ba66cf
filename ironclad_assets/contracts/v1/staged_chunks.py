"""Output of the stage `staged_chunks`: the decoded song and the plan an engine will follow."""

from pydantic import Field

from ironclad_assets.contracts.v1.base import AudioFormat, Contract, Sha256, StagedAudio


class EngineChoice(Contract):
    """Which engine separates the song, resolved from job, user and system defaults (SPLIT-005)."""

    engine: str
    version: str
    model: str
    stems: tuple[str, ...]
    parameters: dict[str, float | int | str | bool] = Field(default_factory=dict)


class Chunk(Contract):
    """A range of frames of the staged mixture."""

    start: int = Field(ge=0)
    frames: int = Field(ge=1)


class MixtureStatistics(Contract):
    """Statistics of the whole staged mixture that an engine may need before its first window.

    `mean` and `std` (unbiased) are of the mono mixture, the average of the channels.
    """

    mean: float
    std: float = Field(ge=0)
    peak: float = Field(ge=0)
    rms: float = Field(ge=0)


class StagedChunks(Contract):
    """The staged song.

    `mixture` is at the engine's rate and channels. `source` is at the source's rate with one or two
    channels, or None where that is the same audio as `mixture`. `source_format` is what the result must
    come back to: rate and frames of the decoded original; its channels are those of the delivered track
    (1 or 2; more than two are mixed down and a warning says so).
    """

    original_sha256: Sha256
    engine: EngineChoice
    mixture: StagedAudio
    source: StagedAudio | None
    source_format: AudioFormat
    statistics: MixtureStatistics
    chunks: tuple[Chunk, ...]
    silent: bool
    warnings: tuple[str, ...] = ()

    @property
    def source_audio(self) -> StagedAudio:
        """The staged audio at the source's own rate."""
        return self.source if self.source is not None else self.mixture
