"""The choice of engine, model, parameters and output for a job: its own wishes over the user's and the system's.

Pure decisions over manifests and three sets of options (SPLIT-005); where defaults are kept is the business of
ledger and settings. What a job names must be there. What only a default names, and the engine that the job
chose does not know, is passed over: a default for one engine must not spoil the choice of another.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ironclad_assets.contracts.v1.engine import EngineManifest, EngineModel, Parameter
from ironclad_assets.contracts.v1.formats import OutputFormat, SampleFormat
from ironclad_assets.contracts.v1.options import ALL_STEMS, JobOptions
from ironclad_assets.contracts.v1.staged_chunks import EngineChoice
from ironclad_assets.errors import ErrorCode, Refusal
from ironclad_assets.intake.formats import check_bitrate, check_sample_format
from ironclad_assets.intake.parameters import fit_parameters, parameters_of, read_value
from ironclad_assets.pipeline.track_plan import missing_for_dj_stems, plan_tracks
from ironclad_assets.settings import Settings

NOTHING = JobOptions()
PRESET_MODEL = "model"
"""The key of a preset that is no parameter: the model it is made for."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a job gets.

    `options` has every default filled in. `reason` says for people what was chosen and who decided it.
    """

    options: JobOptions
    engine: EngineChoice
    model: EngineModel
    reason: str


@dataclass(frozen=True, slots=True)
class _Level:
    """The options of one who may decide. Only the job's own are wishes; the others are defaults."""

    name: str
    options: JobOptions

    @property
    def is_job(self) -> bool:
        return self.name == "job"

    def names(self, field: str) -> bool:
        return field in self.options.model_fields_set and getattr(self.options, field) is not None


def system_defaults(settings: Settings) -> JobOptions:
    """Return what this installation gives to who names nothing."""
    given = {
        "engine": settings.default_engine,
        "model": settings.default_model,
        "preset": settings.default_preset,
    }
    return JobOptions.model_validate({name: value for name, value in given.items() if value is not None})


def choose(
    wish: JobOptions,
    *,
    engines: Mapping[str, EngineManifest],
    user: JobOptions = NOTHING,
    system: JobOptions = NOTHING,
) -> Choice:
    """Return what a job with these options gets.

    Engine and output come from the first of job, user and system that names them, else from the engine and
    the contract. A model, parameters and stems count only together with the engine they were named for. A
    preset is a model and parameters; at each level explicit values win over the preset's.

    Args:
        wish: what the job names.
        engines: the installed engines by name.
        user: what its user wants by default.
        system: what the installation gives by default.

    Raises:
        Refusal: `UNKNOWN_ENGINE`, `UNKNOWN_MODEL`, `UNKNOWN_TARGET` or `BAD_OPTION`, naming the value and
            what there is.
    """
    levels = (_Level("job", wish), _Level("user", user), _Level("system", system))
    engine_from, manifest = _choose_engine(levels, engines=engines)
    about = _levels_about(levels, engine=manifest.name)
    preset_from = _choose_preset(levels, manifest=manifest)
    preset = None if preset_from is None else preset_from.options.preset
    model_from, model = _choose_model(levels, about=about, manifest=manifest, preset_from=preset_from)
    parameters = _choose_parameters(levels, about=about, manifest=manifest, model=model, preset_from=preset_from)
    options = JobOptions(
        engine=manifest.name,
        model=model.name,
        preset=preset,
        parameters=parameters,
        stems=_choose_stems(about, stems=model.stems),
        dj_stems=_choose_dj_stems(levels, stems=model.stems),
        **_choose_output(levels),
    )
    try:
        plan_tracks(model.stems, options=options)
    except Refusal as refusal:
        raise Refusal(f"{manifest.name} with {model.name}: {refusal.detail}", code=refusal.code) from None
    choice = EngineChoice(
        engine=manifest.name, version=manifest.version, model=model.name, stems=model.stems, parameters=parameters
    )
    said = "" if preset_from is None else f", preset {preset} ({preset_from.name})"
    reason = f"engine {manifest.name} {manifest.version} ({engine_from}), model {model.name} ({model_from}){said}"
    return Choice(options=options, engine=choice, model=model, reason=reason)


def choose_output(
    wish: JobOptions, *, made_by: EngineChoice, user: JobOptions = NOTHING, system: JobOptions = NOTHING
) -> JobOptions:
    """Return the options of a job that delivers from stems that are there already.

    Raises:
        Refusal: `BAD_OPTION`: sample format or bit rate do not go with the file format.
    """
    levels = (_Level("job", wish), _Level("user", user), _Level("system", system))
    return JobOptions(
        engine=made_by.engine,
        model=made_by.model,
        parameters=made_by.parameters,
        stems=_choose_stems(_levels_about(levels, engine=made_by.engine), stems=made_by.stems),
        dj_stems=_choose_dj_stems(levels, stems=made_by.stems),
        **_choose_output(levels),
    )


def _levels_about(levels: Sequence[_Level], *, engine: str) -> tuple[_Level, ...]:
    """Return the levels that speak of `engine`: the job, and those whose default for an engine is this one."""

    def engine_at(at: int) -> str | None:
        return next((level.options.engine for level in levels[at:] if level.names("engine")), None)

    return tuple(level for at, level in enumerate(levels) if level.is_job or engine_at(at) == engine)


def _choose_engine(levels: Sequence[_Level], *, engines: Mapping[str, EngineManifest]) -> tuple[str, EngineManifest]:
    """Return who named the engine, and its manifest."""
    for level in levels:
        if not level.names("engine"):
            continue
        name = str(level.options.engine)
        if name in engines:
            return level.name, engines[name]
        by = "" if level.is_job else f", the default of the {level.name},"
        detail = f"engine {name!r}{by} is not installed, only {listed(engines)}"
        raise Refusal(detail, code=ErrorCode.UNKNOWN_ENGINE)
    raise Refusal(f"no engine is named; there is {listed(engines)}", code=ErrorCode.UNKNOWN_ENGINE)


def _choose_preset(levels: Sequence[_Level], *, manifest: EngineManifest) -> _Level | None:
    """Return the level whose preset counts. A default is one for every engine that has it."""
    for level in levels:
        if not level.names("preset"):
            continue
        if level.options.preset in manifest.presets:
            return level
        if level.is_job:
            detail = f"{manifest.name} has no preset {str(level.options.preset)!r}, only {listed(manifest.presets)}"
            raise Refusal(detail, code=ErrorCode.BAD_OPTION)
    return None


def _choose_model(
    levels: Sequence[_Level], *, about: Sequence[_Level], manifest: EngineManifest, preset_from: _Level | None
) -> tuple[str, EngineModel]:
    """Return who named the model, and the model."""
    for level in levels:
        if level in about and level.names("model"):
            return level.name, _require_model(manifest, name=str(level.options.model))
        made_for = _preset(manifest, level=preset_from).get(PRESET_MODEL) if level is preset_from else None
        if made_for is not None:
            return "preset", _require_model(manifest, name=str(made_for))
    return "engine", _require_model(manifest, name=manifest.default_model)


def _require_model(manifest: EngineManifest, *, name: str) -> EngineModel:
    try:
        return manifest.model(name)
    except KeyError:
        known = listed(model.name for model in manifest.models)
        raise Refusal(f"{manifest.name} has no model {name!r}, only {known}", code=ErrorCode.UNKNOWN_MODEL) from None


def _preset(manifest: EngineManifest, *, level: _Level | None) -> dict[str, Parameter]:
    return {} if level is None or level.options.preset is None else manifest.presets[level.options.preset]


def _choose_parameters(
    levels: Sequence[_Level],
    *,
    about: Sequence[_Level],
    manifest: EngineManifest,
    model: EngineModel,
    preset_from: _Level | None,
) -> dict[str, Parameter]:
    """Return every parameter that the model knows, with its value."""
    specs = parameters_of(manifest, model=model.name)
    values: dict[str, Parameter] = {}
    for level in reversed(levels):
        if level is preset_from:
            values |= {name: value for name, value in _preset(manifest, level=level).items() if name in specs}
        for name, value in level.options.parameters.items() if level in about else ():
            if name in specs:
                values[name] = read_value(value, name=f"{manifest.name} {name}", spec=specs[name])
            elif level.is_job:
                detail = f"{manifest.name} with {model.name} has no parameter {name!r}, only {listed(specs)}"
                raise Refusal(detail, code=ErrorCode.BAD_OPTION)
    return fit_parameters(manifest, model=model.name, values=values)


def _choose_stems(about: Sequence[_Level], *, stems: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the stems to deliver, None for all; a default that names others than the model's is passed over."""
    for level in about:
        if not level.names("stems") or level.options.stems is None:
            continue
        if level.options.stems == ALL_STEMS:
            return None
        if level.is_job or set(level.options.stems) <= set(stems):
            return level.options.stems
    return None


def _choose_dj_stems(levels: Sequence[_Level], *, stems: tuple[str, ...]) -> bool:
    """Return whether the file for DJ programs is wanted; a default that the model cannot meet is passed over."""
    for level in levels:
        if level.names("dj_stems"):
            return level.options.dj_stems and (level.is_job or not missing_for_dj_stems(stems))
    return False


def _choose_output(levels: Sequence[_Level]) -> dict[str, Any]:  # fields of options
    """Return targets, file format and permissions; a default that does not go with the format is passed over."""
    chosen: dict[str, Any] = {}  # as above
    for field in ("targets", "format", "residual", "original", "allow_smaller_model"):
        chosen[field] = next(
            (getattr(level.options, field) for level in levels if level.names(field)), getattr(NOTHING, field)
        )
    output: OutputFormat = chosen["format"]

    def check_samples(value: SampleFormat) -> None:
        check_sample_format(output, sample_format=value)

    def check_rate(value: int) -> None:
        check_bitrate(output, bitrate_kbps=value)

    chosen["sample_format"] = _first_fitting(levels, field="sample_format", check=check_samples)
    chosen["bitrate_kbps"] = _first_fitting(levels, field="bitrate_kbps", check=check_rate)
    return chosen


def _first_fitting(levels: Sequence[_Level], *, field: str, check: Callable[[Any], None]) -> Any:  # noqa: ANN401 - the value of a field, of its type
    """Return the first value named for `field` that `check` lets pass; a wish that it does not is refused."""
    for level in levels:
        if not level.names(field):
            continue
        value = getattr(level.options, field)
        try:
            check(value)
        except Refusal:
            if level.is_job:
                raise
            continue
        return value
    return None


def listed(names: Iterable[str]) -> str:
    """Return names in their order for people, or ``none``."""
    return ", ".join(sorted(names)) or "none"
