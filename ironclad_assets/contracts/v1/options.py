"""What a user asks for: the options of a job, and the grammar of a target."""

from enum import StrEnum
from typing import Any

from pydantic import Field, field_validator

from ironclad_assets.contracts.v1.base import Contract
from ironclad_assets.contracts.v1.formats import OutputFormat, SampleFormat

INSTRUMENTAL = "instrumental"
"""The target that keeps everything but the vocals."""

ALL_STEMS = ("all",)
"""The choice of every stem, where a default would choose fewer."""


class Preset(StrEnum):
    """A choice between speed and quality; each engine says what it means for its models."""

    FAST = "fast"
    BALANCED = "balanced"
    BEST = "best"


class JobOptions(Contract):
    """The options of one job.

    None means: the user's default, else the system's, else the engine's. A target is ``instrumental``, the
    name of a stem, or stems joined by ``+`` (``drums+bass``). `stems` are those delivered as files of their
    own (None: all, or what a default says; ``("all",)``: all, whatever a default says; empty: none);
    `residual` also delivers what the mixture holds beyond the sum of stems, `original` the untouched original,
    `dj_stems` one file for DJ programs with the mixture and four stems in it.
    `sample_format` is of lossless formats, `bitrate_kbps` of lossy ones.
    """

    engine: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_-]{0,63}$")
    model: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    targets: tuple[str, ...] = (INSTRUMENTAL,)
    format: OutputFormat = OutputFormat.FLAC
    preset: Preset | None = None
    stems: tuple[str, ...] | None = None
    residual: bool = False
    original: bool = False
    dj_stems: bool = False
    sample_format: SampleFormat | None = None
    bitrate_kbps: int | None = Field(default=None, ge=32, le=512)
    allow_smaller_model: bool = False
    """Whether a smaller model may take over where memory does not suffice for the one chosen."""

    parameters: dict[str, float | int | str | bool] = Field(default_factory=dict)

    def named(self) -> dict[str, Any]:  # a JSON object
        """Return the options that were named, as JSON: what was left out or is None is for a default to decide."""
        return self.model_dump(mode="json", exclude_unset=True, exclude_none=True)

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
