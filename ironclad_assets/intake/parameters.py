"""The parameters of an engine: what a value must be, and reading one from what a user typed.

An engine's manifest says type, range and choices; text is read as that type, so that a form and a command line
need not know it. Which values a job gets is the business of `choice`.
"""

import math
from collections.abc import Mapping

from ironclad_assets.contracts.v1.engine import EngineManifest, Parameter, ParameterSpec
from ironclad_assets.errors import ErrorCode, Refusal

_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_NUMBERS = {"int": "a whole number", "float": "a number"}


def parameters_of(manifest: EngineManifest, *, model: str) -> dict[str, ParameterSpec]:
    """Return the parameters that `model` knows, by name."""
    return {name: spec for name, spec in manifest.parameters.items() if not spec.models or model in spec.models}


def fit_parameters(manifest: EngineManifest, *, model: str, values: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """Return every parameter that `model` knows: its value in `values`, else its default; others are left out."""
    specs = parameters_of(manifest, model=model)
    return {name: read_value(values.get(name, spec.default), name=name, spec=spec) for name, spec in specs.items()}


def read_value(value: Parameter, *, name: str, spec: ParameterSpec) -> Parameter:
    """Return `value` as the type that `spec` wants.

    Raises:
        Refusal: `BAD_OPTION`, naming the value and what is allowed.
    """
    found = _convert(value, spec=spec)
    if found is None or not _is_allowed(found, spec=spec):
        raise Refusal(f"parameter {name} is {value!r}; allowed is {describe(spec)}", code=ErrorCode.BAD_OPTION)
    return found


def describe(spec: ParameterSpec) -> str:
    """Return in words what a parameter may be."""
    if spec.choices:
        return f"one of {', '.join(spec.choices)}"
    if spec.type == "bool":
        return "true or false"
    if spec.type == "str":
        return "text"
    return f"{_NUMBERS[spec.type]}{_bounds(spec.minimum, spec.maximum)}"


def _bounds(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f" from {_spell(low)} to {_spell(high)}"
    if low is not None:
        return f" of at least {_spell(low)}"
    return "" if high is None else f" of at most {_spell(high)}"


def _spell(number: float) -> str:
    return str(int(number)) if number.is_integer() else str(number)


def _convert(value: Parameter, *, spec: ParameterSpec) -> Parameter | None:
    """Return `value` as the type of `spec`; None where it is none. A truth value is no number."""
    if spec.type == "bool":
        return _WORDS.get(str(value).strip().lower()) if isinstance(value, (str, bool)) else None
    if spec.type == "str":
        return value if isinstance(value, str) else None
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
        if not math.isfinite(number):
            return None
        if spec.type == "float":
            return number
        # Not by way of float: it would round a large whole number, such as a seed.
        return int(value) if isinstance(value, (int, str)) or number.is_integer() else None
    except (ValueError, OverflowError):
        return None


def _is_allowed(value: Parameter, *, spec: ParameterSpec) -> bool:
    if spec.choices:
        return str(value) in spec.choices
    if isinstance(value, (bool, str)):
        return True
    low = -math.inf if spec.minimum is None else spec.minimum
    high = math.inf if spec.maximum is None else spec.maximum
    return low <= value <= high
