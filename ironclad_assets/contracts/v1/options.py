"""What a user asks for: the options of a job, and the grammar of a target."""

from enum import StrEnum

from pydantic import Field, field_validator

from ironclad_assets.contracts.v1.base import Contract

INSTRUMENTAL = "instrumental"
"""The target that keeps everything but the vocals."""


class OutputFormat(StrEnum):
    """Container and codec of a delivered file; the member is also its file extension."""

    FLAC = "flac"
    WAV = "wav"
    MP3 = "mp3"


class JobOptions(Contract):
    """The options of one job.

    None for `engine` or `model` means: the user's default, else the system's. A target is
    ``instrumental``, the name of a stem, or stems joined by ``+`` (``drums+bass``).
    """

    engine: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_-]{0,63}$")
    model: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    targets: tuple[str, ...] = (INSTRUMENTAL,)
    format: OutputFormat = OutputFormat.FLAC
    parameters: dict[str, float | int | str | bool] = Field(default_factory=dict)

    @field_validator("targets")
    @classmethod
    def _check_targets(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        if not targets:
            raise ValueError("name at least one target, for example instrumental")
        for target in targets:
            stems = target.split("+")
            if any(not stem.isidentifier() or stem != stem.lower() for stem in stems):
                raise ValueError(f"{target!r} is not a target; use instrumental, a stem, or stems joined by +")
            if len(set(stems)) < len(stems) or (INSTRUMENTAL in stems and len(stems) > 1):
                raise ValueError(f"{target!r} names a stem twice, or mixes instrumental with stems")
        if len(set(targets)) < len(targets):
            raise ValueError("a target is named twice")
        return targets
