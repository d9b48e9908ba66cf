"""What every contract has in common, and the small types they share.

A contract is a frozen pydantic model that refuses unknown fields. The models of one stage live in the
module named after it; nothing here knows how a contract is stored.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

CONTRACT_VERSION: Literal[1] = 1

SONG_PATTERN = r"^[a-z0-9-]{1,64}$"
SHA256_PATTERN = r"^[0-9a-f]{64}$"

Song = Annotated[str, Field(pattern=SONG_PATTERN)]
"""Partition key of a song. Dagster validates nothing about keys, so this pattern is checked by us."""

Sha256 = Annotated[str, Field(pattern=SHA256_PATTERN)]
UserId = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,64}$")]
SampleRateHz = Annotated[int, Field(ge=1, le=768_000)]
Frames = Annotated[int, Field(ge=0)]
"""A count of samples per channel."""

Channels = Annotated[int, Field(ge=1, le=64)]


def _check_relative(name: str) -> str:
    parts = name.split("/")
    if name.startswith("/") or "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{name!r} is not a plain relative path")
    return name


RelativePath = Annotated[str, AfterValidator(_check_relative)]
"""A path below a folder that the context names, with ``/`` between parts and no ``.`` or ``..``."""


class Contract(BaseModel):
    """Base of all contracts: frozen, strict about unknown fields, finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="null")


class FileRecord(Contract):
    """One file of an artifact, as it must be found again."""

    path: RelativePath
    size_bytes: int = Field(ge=0)
    sha256: Sha256


class AudioFormat(Contract):
    """Rate, channels and length of a piece of audio."""

    sample_rate_hz: SampleRateHz
    channels: Channels
    frames: Frames

    @property
    def duration_s(self) -> float:
        return self.frames / self.sample_rate_hz


class StagedAudio(AudioFormat):
    """Raw audio on disk: interleaved little-endian float32, full scale 1.0, shape (frames, channels)."""

    path: RelativePath


class Levels(Contract):
    """How loud a piece of audio is.

    `loudness_lufs` is integrated loudness after ITU-R BS.1770-4, `true_peak_dbtp` its annex 2; both are
    None where the audio is silent (loudness below -70 LUFS, peak of zero).
    """

    loudness_lufs: float | None
    true_peak_dbtp: float | None
    peak: float = Field(ge=0)
    rms: float = Field(ge=0)


class CheckOutcome(Contract):
    """One asset check, decided before the manifest is written."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    passed: bool
    blocking: bool = True
    detail: str = ""
    values: dict[str, float | int | str | bool] = Field(default_factory=dict)
