"""What an engine's author imports: the context it is made with, the passes it declares, the errors it raises.

An engine is a function from a window of samples to stems. How windows are read, overlapped, added, saved
and resumed belongs to `separation`; nothing here knows about files or processes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Kept = TypeVar("Kept")


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


class Keeper:
    """What a worker keeps from one song to the next: a loaded network, a compiled graph.

    A worker that ends with its song keeps nothing beyond it; a warm one hands the same object to the next
    song that asks for the same key.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Any] = {}  # whatever engines load
        self._earlier: frozenset[str] = frozenset()
        self.reused = False
        """Whether this song was given something that an earlier one left."""

    def keep(self, key: str, make: Callable[[], Kept]) -> Kept:
        """Return what was kept under `key`, or make it, and drop everything kept under other keys.

        Args:
            key: must name everything that `make` depends on: model, hashes of its files, device, precision.
            make: loads it.
        """
        if key not in self._kept:
            self._kept.clear()  # before making: two networks may not fit side by side
            self._kept[key] = make()
            self._earlier = frozenset()
        self.reused = self.reused or key in self._earlier
        kept: Kept = self._kept[key]
        return kept

    def begin_song(self) -> None:
        """Mark everything that is kept now as an earlier song's."""
        self._earlier, self.reused = frozenset(self._kept), False

    def drop(self) -> None:
        """Keep nothing any more."""
        self._kept.clear()
        self._earlier, self.reused = frozenset(), False


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of the model's weights. Its hash has been verified before the engine is made."""

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class EngineContext:
    """Everything an engine may know about the work before its first window.

    `stems` is the order in which `Engine.separate` returns them; `frames` is the length of the song.
    `model_files` are the weights by their names in the engine's catalogue. `window_s` is a window shorter
    than the model's own, asked for to save memory. An engine computes on `device` and in `precision`, or
    raises `EngineError` with ``device_unavailable``; it never takes another one by itself.
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
    precision: str = "full"
    window_s: float | None = None
    model_files: Mapping[str, ModelFile] = field(default_factory=dict)
    keeper: Keeper = field(default_factory=Keeper)

    def song_range(self, window: "Window", *, frames: int) -> tuple[int, int]:
        """Return which frames of a window's `frames` samples lie within the song; outside there are zeros."""
        start = max(0, -window.read_start)
        return start, max(start, min(frames, self.frames - window.read_start))


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
    """Which window is being separated: its pass, its number, and where it lies in the song.

    The samples given begin at the song's frame `read_start` (negative: with zeros before the song). The
    output counts from the song's frame `start` for `frames` frames: fewer than the pass's window at the
    song's end, for engines that treat a short rest in their own way.
    """

    pass_index: int
    index: int
    start: int
    frames: int
    read_start: int


class Engine(Protocol):
    """What `entry` in engine.toml names: a class made with an `EngineContext`.

    An attribute ``device`` (str) tells the device that is really used, for the result.
    """

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


@runtime_checkable
class BatchEngine(Engine, Protocol):
    """An engine that gains from several windows at once."""

    def separate_many(self, ys: Sequence[Samples], *, windows: Sequence[Window]) -> Sequence[Samples]:
        """Return the stems of each of several neighbouring windows of one pass.

        Args:
            ys: as `separate` is given each, at most as many as the request's batch.
            windows: which windows these are.

        Returns:
            As many answers, each what `separate` gives but for rounding.
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
