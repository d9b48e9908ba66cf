"""Options from what a user typed, and whether this installation can do what they ask for.

The shape of the options is the contract's business. The doors ask here before they queue a job, and its run
chooses by the same rules (`choice`), so both refuse in the same words.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from ironclad_assets.contracts.v1.engine import EngineManifest
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import ErrorCode, Refusal
from ironclad_assets.intake.choice import NOTHING, choose

MOST_ENTRIES = 64
"""Targets, stems or parameters that one request names."""

LONGEST_ENTRY = 1000
"""Characters of each of them, and of every other option."""

_CODES = {
    "targets": ErrorCode.UNKNOWN_TARGET,
    "stems": ErrorCode.UNKNOWN_TARGET,
    "format": ErrorCode.UNKNOWN_FORMAT,
}


def make_options(
    *,
    engine: str | None = None,
    model: str | None = None,
    targets: Iterable[str] | None = None,
    format: str | None = None,
    **others: Any,  # noqa: ANN401 - what a user typed for any other option
) -> JobOptions:
    """Return options from what a user typed; None leaves an option to the defaults.

    Raises:
        Refusal: `UNKNOWN_TARGET`, `UNKNOWN_FORMAT` or `BAD_OPTION`, naming the value. `UNKNOWN_TARGET` also for a
            target that is another one with its stems in another order; `BAD_OPTION` for more than `MOST_ENTRIES`
            targets, stems or parameters, or one of more than `LONGEST_ENTRY` characters.
    """
    given = {
        "engine": engine,
        "model": model,
        "targets": tuple(targets) if targets is not None else None,
        "format": format,
        **others,
    }
    for name, value in given.items():
        _check_size(name, value)
    try:
        options = JobOptions.model_validate({key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = str(first["loc"][0])
        raise Refusal(
            f"{field} {given.get(field)!r}: {first['msg'].removeprefix('Value error, ')}",
            code=_CODES.get(field, ErrorCode.BAD_OPTION),
        ) from error
    _check_no_target_twice(options.targets)
    return options


def _check_size(name: str, value: object) -> None:
    """Raise if an option has too many entries, or too long a text."""
    if isinstance(value, Mapping):
        texts = [f"{key}={entry}" for key, entry in value.items()]
    elif isinstance(value, (list, tuple)):
        texts = [str(entry) for entry in value]
    else:
        texts = [value] if isinstance(value, str) else []
    if len(texts) > MOST_ENTRIES:
        raise Refusal(f"{name}: {len(texts)} are named; the most is {MOST_ENTRIES}", code=ErrorCode.BAD_OPTION)
    longest = max(texts, key=len, default="")
    if len(longest) > LONGEST_ENTRY:
        raise Refusal(
            f"{name} {longest[:40]!r}... has {len(longest)} characters; the most is {LONGEST_ENTRY}",
            code=ErrorCode.BAD_OPTION,
        )


def _check_no_target_twice(targets: Iterable[str]) -> None:
    named: dict[frozenset[str], str] = {}
    for target in targets:
        before = named.setdefault(frozenset(target.split("+")), target)
        if before != target:
            raise Refusal(f"targets: {target!r} is {before!r} in another order", code=ErrorCode.UNKNOWN_TARGET)


def parse_parameters(texts: Iterable[str]) -> dict[str, str]:
    """Return parameters from texts such as ``overlap=0.25``; what the values mean is for the engine to say.

    Raises:
        Refusal: `BAD_OPTION`, naming the text, or where there are too many or one is too long.
    """
    texts = list(texts)
    _check_size("parameters", texts)
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise Refusal(f"parameter {text!r} is not NAME=VALUE", code=ErrorCode.BAD_OPTION)
        if name.strip() in found:
            raise Refusal(f"parameter {name.strip()!r} is given twice", code=ErrorCode.BAD_OPTION)
        found[name.strip()] = value.strip()
    return found


def change_options(before: JobOptions, *, change: JobOptions) -> JobOptions:
    """Return `before` with what `change` names; what was chosen for something else does not come along.

    Another engine starts with its own model, preset, parameters and stems; another preset with its own model
    and parameters; another file format with its own sample format and bit rate. A parameter given without a
    value goes back to the default.
    """
    kept, given = before.named(), change.named()
    dropped: set[str] = set()
    if "engine" in given and given["engine"] != kept.get("engine"):
        dropped |= {"model", "preset", "parameters", "stems"}
    if "preset" in given and given["preset"] != kept.get("preset"):
        dropped |= {"model", "parameters"}
    if "format" in given and given["format"] != kept.get("format"):
        dropped |= {"sample_format", "bitrate_kbps"}
    kept = {name: value for name, value in kept.items() if name not in dropped}
    merged = {**kept, **given}
    parameters = {**kept.get("parameters", {}), **given.get("parameters", {})}
    merged["parameters"] = {name: value for name, value in parameters.items() if value != ""}
    if not merged["parameters"]:
        del merged["parameters"]
    return JobOptions.model_validate(merged)


def check_options(
    options: JobOptions,
    engines: Mapping[str, EngineManifest],
    *,
    user: JobOptions = NOTHING,
    system: JobOptions = NOTHING,
) -> None:
    """Raise unless one of `engines` can do what `options` ask for.

    Args:
        options: the request. One that names no engine is checked against the default one, if there is any.
        engines: the installed engines by name.
        user: what its user wants by default.
        system: what the installation gives by default.

    Raises:
        Refusal: `UNKNOWN_ENGINE`, `UNKNOWN_MODEL`, `UNKNOWN_TARGET` or `BAD_OPTION`, naming the value and
            what there is.
    """
    if any(level.engine is not None for level in (options, user, system)):
        choose(options, engines=engines, user=user, system=system)
