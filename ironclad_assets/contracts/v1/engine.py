"""The engine protocol, version 1: what goes to a worker, and what comes back.

The worker side knows these as JSON only (`engines/_protocol/v1/*.json`, exported from here). Audio never
travels in a message: requests name files.
"""

from typing import Annotated, Literal

from pydantic import Field

from ironclad_assets.contracts.v1.base import Contract, RelativePath, SampleRateHz, Sha256
from ironclad_assets.contracts.v1.staged_chunks import Chunk, MixtureStatistics

StemName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Entry = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$")]
Parameter = float | int | str | bool
CPU = "cpu"
"""The device that every machine has."""

DEFAULT_ENVIRONMENT = "default"


class EngineModel(Contract):
    """One model of an engine. The built-in engine has one, without weights.

    `entry` and `environment` are given where a model runs other code, or in another environment of the
    engine, than the manifest says. `weights` names the weights in the engine's catalogue (`models.toml`);
    None: it needs none. `smaller` names a model with the same stems, rate and channels that uses less
    memory; `smaller_windows_s` are shorter windows that really save memory, longest first.
    """

    name: ModelName
    stems: tuple[StemName, ...] = Field(min_length=1)
    sample_rate_hz: SampleRateHz
    channels: Literal[1, 2]
    description: str = ""
    entry: Entry | None = None
    environment: str = DEFAULT_ENVIRONMENT
    weights: ModelName | None = None
    smaller: ModelName | None = None
    smaller_windows_s: tuple[float, ...] = ()


class EnvironmentSpec(Contract):
    """How one environment of an engine is made by pip, and what it needs of the machine.

    `python` is a PEP 440 range; `first` is installed before `requirements`, all under `constraints` (a
    file named relative to the engine's folder). `cpu_features` are names as in ``/proc/cpuinfo``;
    `modules` are imported to prove that it works.
    """

    python: str = ">=3.11"
    first: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    from_source: tuple[str, ...] = ()
    """Packages that nobody publishes built, so that pip builds them here; all others come as wheels."""

    constraints: str | None = None
    cpu_features: tuple[str, ...] = ()
    modules: tuple[str, ...] = ("numpy",)
    download_mib: int = Field(default=0, ge=0)
    variables: dict[str, str] = Field(default_factory=dict)
    """Environment variables of its workers, for what must be set before the process starts."""


class ParameterSpec(Contract):
    """One parameter that a job may set."""

    type: Literal["int", "float", "bool", "str"]
    default: Parameter
    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    models: tuple[ModelName, ...] = ()
    """Models that know it; empty means all."""


class EngineManifest(Contract):
    """`engine.toml`: what an engine is, and how its worker is started.

    `entry` is ``module:Class`` in the engine's folder. `environment` is ``core`` for an engine that needs
    nothing beyond the core's own packages, ``own`` for one with environments of its own.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")
    version: str
    kind: Literal["separation"]
    protocol: Literal[1]
    description: str
    licence: str
    entry: Entry
    environment: Literal["core", "own"]
    default_model: str
    models: tuple[EngineModel, ...] = Field(min_length=1)
    devices: tuple[Literal["cpu", "cuda", "mps"], ...] = ("cpu",)
    precisions: tuple[Literal["full", "half"], ...] = ("full",)
    """Half precision is only ever used on a GPU."""

    environments: dict[str, EnvironmentSpec] = Field(default_factory=dict)
    """For an engine with environments of its own; ``default`` is the one that `install` cannot do without."""

    parameters: dict[str, ParameterSpec] = Field(default_factory=dict)
    presets: dict[str, dict[str, Parameter]] = Field(default_factory=dict)
    """``fast``, ``balanced``, ``best``: parameters by name; the key ``model`` chooses the model."""

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


class ModelFile(Contract):
    """One file of a model's weights: where it lies, and what it must be. Verified at every load."""

    name: RelativePath
    path: str
    size_bytes: int = Field(ge=0)
    sha256: Sha256


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
    """``cpu``, ``cuda``, ``cuda:1``, ``mps``. A device that is not there is an error, never another device."""

    precision: Literal["full", "half"] = "full"
    threads: int = Field(default=1, ge=1)
    batch: int = Field(default=1, ge=1)
    """Windows given to the engine at once, where it can take several. Never changes what comes out
    beyond rounding, so work goes on under another batch."""

    window_s: float | None = Field(default=None, gt=0)
    """A shorter window than the model's own, to save memory; changes the result, so the key must tell."""

    seed: int = 0
    model_files: tuple[ModelFile, ...] = ()


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
    load_s: float = Field(default=0.0, ge=0)
    """Seconds from the request to the first window: starting, verifying and loading the model."""

    warm: bool = False
    """Whether the worker had the model loaded from an earlier song."""

    failure: EngineFailure | None = None
