"""The engine protocol, version 1: what goes to a worker, and what comes back.

The worker side knows these as JSON only (`engines/_protocol/v1/*.json`, exported from here). Audio never
travels in a message: requests name files.
"""

from typing import Annotated, Literal

from pydantic import Field

from ironclad_assets.contracts.v1.base import Contract, RelativePath, SampleRateHz
from ironclad_assets.contracts.v1.staged_chunks import Chunk, MixtureStatistics

StemName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class EngineModel(Contract):
    """One model of an engine. The built-in engine has one, without weights."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    stems: tuple[StemName, ...] = Field(min_length=1)
    sample_rate_hz: SampleRateHz
    channels: Literal[1, 2]
    description: str = ""


class EngineManifest(Contract):
    """`engine.toml`: what an engine is, and how its worker is started.

    `entry` is ``module:Class`` in the engine's folder. `environment` is ``core`` for an engine that needs
    nothing beyond the core's own packages, ``own`` for one with an environment of its own.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")
    version: str
    kind: Literal["separation"]
    protocol: Literal[1]
    description: str
    licence: str
    entry: str = Field(pattern=r"^[a-z_][a-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$")
    environment: Literal["core", "own"]
    default_model: str
    models: tuple[EngineModel, ...] = Field(min_length=1)
    devices: tuple[Literal["cpu", "cuda", "mps"], ...] = ("cpu",)

    def model(self, name: str | None) -> EngineModel:
        """Return the model called `name`, or the default one for None.

        Raises:
            KeyError: the engine has no such model.
        """
        wanted = name or self.default_model
        for model in self.models:
            if model.name == wanted:
                return model
        raise KeyError(wanted)


class AudioFile(Contract):
    """Raw interleaved little-endian float32 audio named by an absolute path."""

    path: str
    sample_rate_hz: SampleRateHz
    channels: Literal[1, 2]
    frames: int = Field(ge=1)


class EngineRequest(Contract):
    """What a worker is asked to do. Written as `request.json` in the engine's hand-off folder."""

    protocol: Literal[1] = 1
    job_uuid: str
    song: str
    engine: str
    engine_version: str
    entry: str
    model: str
    stems: tuple[StemName, ...]
    parameters: dict[str, float | int | str | bool] = Field(default_factory=dict)
    mixture: AudioFile
    statistics: MixtureStatistics
    chunks: tuple[Chunk, ...]
    key: str
    """Identity of the work: a checkpoint made under another key is not continued."""

    output_dir: str
    device: str = "cpu"
    threads: int = Field(default=1, ge=1)
    seed: int = 0


class EngineEvent(Contract):
    """One line of JSON from the worker, at least once a second."""

    kind: Literal["started", "progress", "log"]
    fraction: float = Field(default=0.0, ge=0.0, le=1.0)
    message: str = ""
    chunk: int | None = None
    resumed_frames: int | None = None
    windows: int | None = None
    """Windows finished so far: what tells work from a heartbeat. Optional."""


class EngineFailure(Contract):
    """Why a worker did not finish, by published error code."""

    code: str
    detail: str


class StemFile(Contract):
    """One stem the worker wrote, relative to the request's `output_dir`."""

    name: StemName
    path: RelativePath
    frames: int = Field(ge=1)


class EngineResult(Contract):
    """`result.json`, written last in `output_dir`: the stems, or the failure, never both."""

    protocol: Literal[1] = 1
    key: str
    status: Literal["completed", "failed"]
    stems: tuple[StemFile, ...] = ()
    device: str = ""
    computed_chunks: int = Field(default=0, ge=0)
    resumed_chunks: int = Field(default=0, ge=0)
    compute_s: float = Field(default=0.0, ge=0)
    failure: EngineFailure | None = None
