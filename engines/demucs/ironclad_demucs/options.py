"""What a job may set for Demucs, with ranges: shifts, overlap, transition power, segment.

Knows no network. That a segment fits a network is checked where the network is known, in `plans`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from ironclad_harness.engine import EngineError

Value = float | int | str | bool

SHIFTS = (0, 20)
OVERLAP = (0.0, 0.95)
TRANSITION_POWER = (1.0, 4.0)
"""Demucs refuses less than 1; beyond 4 the first weights of a long window get lost in float32."""

SEGMENT_S = (1.0, 60.0)
"""A window must be longer than the half second by which a shift moves it."""


@dataclass(frozen=True, slots=True)
class Options:
    """Parameters as `demucs.api.Separator` names them. `segment_s` is None for the network's own."""

    shifts: int = 0
    overlap: float = 0.25
    transition_power: float = 1.0
    segment_s: float | None = None


def read_options(parameters: Mapping[str, Value], *, window_s: float | None = None) -> Options:
    """Return the options that a request asks for; what it does not name is as in the manifest.

    Args:
        parameters: by name; a segment of 0 means the network's own.
        window_s: a shorter segment to save memory; the shorter of the two is taken.

    Raises:
        EngineError: ``bad_option``, naming the value and what is allowed.
    """
    known = ("shifts", "overlap", "transition_power", "segment")
    if unknown := sorted(set(parameters) - set(known)):
        raise bad_option(f"demucs knows no parameter {unknown[0]!r}; it has {', '.join(known)}")
    defaults = Options()
    shifts = _number(parameters.get("shifts", defaults.shifts), name="shifts", allowed=SHIFTS)
    if shifts != int(shifts):
        raise bad_option(f"shifts {shifts:g} is not a whole number")
    segment_s = _segment_s(parameters.get("segment", 0))
    if window_s is not None:
        segment_s = min(_number(window_s, name="window_s", allowed=SEGMENT_S), segment_s or window_s)
    return Options(
        shifts=int(shifts),
        overlap=_number(parameters.get("overlap", defaults.overlap), name="overlap", allowed=OVERLAP),
        transition_power=_number(
            parameters.get("transition_power", defaults.transition_power),
            name="transition_power",
            allowed=TRANSITION_POWER,
        ),
        segment_s=segment_s,
    )


def bad_option(detail: str) -> EngineError:
    """Return the error for a parameter that is not allowed."""
    return EngineError("bad_option", detail)


def _segment_s(value: Value) -> float | None:
    # 0 stands for the network's own, because a parameter's default must be a value.
    return None if value == 0 and not isinstance(value, bool) else _number(value, name="segment", allowed=SEGMENT_S)


def _number(value: Value, *, name: str, allowed: tuple[float, float]) -> float:
    least, most = allowed
    if isinstance(value, bool | str) or not isfinite(value) or not least <= value <= most:
        raise bad_option(f"{name} {value!r} is not a number from {least:g} to {most:g}")
    return float(value)
