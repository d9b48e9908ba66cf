"""What an engine's author imports: the context it is made with, the passes it declares, the errors it raises.

An engine is a function from a window of samples to stems. How windows are read, overlapped, added, saved
and resumed belongs to `separation`; nothing here knows about files or processes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]


class EngineError(Exception):
    """A failure the engine names itself, by one of the published error codes."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics of the whole song. `mean` and `std` (unbiased) are of the average of the channels."""

    mean: float
    std: float
    peak: float
    rms: float


@dataclass(frozen=True, slots=True)
class EngineContext:
    """Everything an engine may know about the work before its first window.

    `stems` is the order in which `Engine.separate` returns them; `frames` is the length of the song.
    """

    model: str
    stems: tuple[str, ...]
    parameters: Mapping[str, float | int | str | bool]
    sample_rate_hz: int
    channels: int
    frames: int
    statistics: Statistics
    device: str
    threads: int
    seed: int


@dataclass(frozen=True, slots=True)
class Pass:
    """One grid of windows over the song.

    Window k covers the frames from ``offset + k * hop`` for `window` frames, for every k whose start lies
    before the song's end. Outside the song there are zeros. Several passes (shifts, the models of a bag)
    are each overlap-added by themselves and then averaged stem by stem with `stem_weights`.

    Attributes:
        window: frames of output that count, at least `hop`.
        hop: frames between the starts of two windows.
        offset: start of the first window, at most 0 and above ``-window``.
        context_left: further frames read before the window; their output is dropped.
        context_right: the same after the window.
        weights: shape (window,), positive; None weighs all frames alike.
        normalised: divide by the summed weights; False only adds, for engines whose windows are made to
            add up (a synthesis window inside).
        stem_weights: weight of this pass in the average, per stem; 1 where it is not named.
        tail: how a window that passes the song's end is read. ``pad``: zeros follow the song. ``centre``:
            the part before the end sits in the middle of the window, with the song's earlier frames on
            its left and zeros on its right (as Demucs pads a short segment).
    """

    window: int
    hop: int
    offset: int = 0
    context_left: int = 0
    context_right: int = 0
    weights: Samples | None = None
    normalised: bool = True
    stem_weights: Mapping[str, float] = field(default_factory=dict)
    tail: Literal["pad", "centre"] = "pad"


@dataclass(frozen=True, slots=True)
class Window:
    """Which window is being separated: its pass, its number, and the song's frame at its first sample."""

    pass_index: int
    index: int
    start: int


class Engine(Protocol):
    """What `entry` in engine.toml names: a class made with an `EngineContext`."""

    def __init__(self, context: EngineContext) -> None: ...

    def passes(self) -> Sequence[Pass]:
        """Return the passes over the song, always the same for the same context."""
        ...

    def separate(self, y: Samples, *, window: Window) -> Samples:
        """Return the stems of one window.

        Must depend on its arguments and the context alone, so that work can be resumed anywhere.

        Args:
            y: shape (channels, context_left + window + context_right), full scale 1.0.
            window: which window this is.

        Returns:
            Shape (stems, channels, frames), with as many frames as `y`, finite, in the context's order.
        """
        ...


def crossfade(window: int, *, overlap: int) -> Samples:
    """Return weights, shape (window,), that rise over `overlap` frames, stay at 1, and fall again.

    With a hop of ``window - overlap`` neighbouring windows fade linearly into one another.
    """
    weights = np.ones(window, dtype=np.float32)
    ramp = (np.arange(overlap, dtype=np.float32) + 1) / np.float32(overlap + 1)
    weights[:overlap] = ramp
    weights[window - overlap :] = ramp[::-1]
    return weights
