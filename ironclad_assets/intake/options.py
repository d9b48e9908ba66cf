"""Checking a request against the engines there are, before it becomes a job.

The shape of the options is the contract's business; here it is whether this installation can do it. The doors
ask before they queue a job and its run asks again; what a target needs is the rule by which tracks are planned.
"""

from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from ironclad_assets.contracts.v1.engine import EngineManifest
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import ErrorCode, Refusal
from ironclad_assets.pipeline.track_plan import plan_tracks

_CODES = {"targets": ErrorCode.UNKNOWN_TARGET, "format": ErrorCode.UNKNOWN_FORMAT}


def make_options(
    *,
    engine: str | None = None,
    model: str | None = None,
    targets: Iterable[str] | None = None,
    format: str | None = None,
) -> JobOptions:
    """Return options from what a user typed; None leaves a field at its default.

    Raises:
        Refusal: `UNKNOWN_TARGET`, `UNKNOWN_FORMAT` or `BAD_OPTION`, naming the value.
    """
    given = {
        "engine": engine,
        "model": model,
        "targets": tuple(targets) if targets is not None else None,
        "format": format,
    }
    try:
        return JobOptions.model_validate({key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = str(first["loc"][0])
        raise Refusal(
            f"{field} {given[field]!r}: {first['msg'].removeprefix('Value error, ')}",
            code=_CODES.get(field, ErrorCode.BAD_OPTION),
        ) from error


def check_options(
    options: JobOptions, engines: Mapping[str, EngineManifest], *, default_engine: str | None = None
) -> None:
    """Raise unless one of `engines` can do what `options` ask for.

    Args:
        options: the request. One that names no engine is checked against `default_engine`, if given.
        engines: the installed engines by name.
        default_engine: the engine of jobs that name none.

    Raises:
        Refusal: `UNKNOWN_ENGINE`, `UNKNOWN_MODEL` or `UNKNOWN_TARGET`, naming the value and what there is.
    """
    name = options.engine or default_engine
    if name is None:
        return
    manifest = engines.get(name)
    if manifest is None:
        raise Refusal(f"engine {name!r} is not installed, only {_listed(engines)}", code=ErrorCode.UNKNOWN_ENGINE)
    try:
        model = manifest.model(options.model)
    except KeyError:
        known = _listed(model.name for model in manifest.models)
        raise Refusal(f"{name} has no model {options.model!r}, only {known}", code=ErrorCode.UNKNOWN_MODEL) from None
    try:
        plan_tracks(model.stems, options=options)
    except Refusal as refusal:
        raise Refusal(f"{name} with {model.name}: {refusal.detail}", code=refusal.code) from None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
