"""Demucs' grids as passes: one per network and shift, with its window, its padding and its weights.

The formulas are those of `demucs.apply` (`apply_model`, `TensorChunk.padded`, `center_trim`). Nothing here
computes with samples.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from demucs.demucs import Demucs
from demucs.htdemucs import HTDemucs

from ironclad_demucs.loading import Bag, Network
from ironclad_demucs.options import SEGMENT_S, Options, bad_option
from ironclad_harness.engine import Pass, Samples, Window

MAX_SHIFT_S = 0.5


@dataclass(frozen=True, slots=True)
class Cut:
    """Which samples a network is given for a window: `frames` of them, the window's own after `lead`."""

    frames: int
    lead: int


@dataclass(frozen=True, slots=True)
class Plan:
    """One network over one grid. `shift` is how many zeros stand before the song."""

    network: int
    shift: int
    grid: Pass


def plan_passes(bag: Bag, *, stems: Sequence[str], options: Options, seed: int) -> tuple[Plan, ...]:
    """Return the passes of `bag`; a network that has no weight in any of `stems` gets none.

    Raises:
        EngineError: ``bad_option`` for a segment that a network cannot take.
    """
    plans = []
    shifts = draw_shifts(bag, shifts=options.shifts, seed=seed)
    for number, (network, weights) in enumerate(zip(bag.networks, bag.weights, strict=True)):
        stem_weights = {stem: weights[bag.sources.index(stem)] for stem in stems}
        if not any(stem_weights.values()):
            continue
        plans += [
            Plan(number, shift, _grid(network, shift=shift, options=options, stem_weights=stem_weights))
            for shift in shifts[number]
        ]
    return tuple(plans)


def draw_shifts(bag: Bag, *, shifts: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """Return for each network the zeros before the song in each of its passes.

    Demucs draws an offset in 0..max_shift (half a second) for every shift of every network from Python's global
    generator, and puts max_shift - offset zeros before the song. Here the generator is one of its own.
    """
    if not shifts:
        return ((0,),) * len(bag.networks)
    draws = random.Random(seed)  # noqa: S311 - not a secret: it must be drawn alike every time
    max_shift = int(MAX_SHIFT_S * bag.sample_rate_hz)
    return tuple(tuple(max_shift - draws.randint(0, max_shift) for _ in range(shifts)) for _ in bag.networks)


def window_frames(network: Network, *, options: Options) -> int:
    """Return the length of a network's window.

    Raises:
        EngineError: ``bad_option`` for one longer than a transformer was trained with.
    """
    own_s = network.segment
    wanted_s = own_s if options.segment_s is None else options.segment_s
    if isinstance(network, HTDemucs) and network.use_train_segment and wanted_s > own_s:
        raise bad_option(
            f"segment {float(wanted_s):g} is longer than the {float(own_s):g} s that this model was trained with; "
            f"choose {SEGMENT_S[0]:g} to {float(own_s):g}"
        )
    return int(network.samplerate * wanted_s)


def cut_window(network: Network, *, frames: int, options: Options) -> Cut:
    """Return what the network is given for a window of `frames` frames (fewer than its own at the song's end)."""
    if isinstance(network, HTDemucs) and options.segment_s is not None:
        padded = window_frames(network, options=options)
    elif isinstance(network, Demucs | HTDemucs):
        padded = int(network.valid_length(frames))
    else:
        padded = frames
    return Cut(frames=padded, lead=(padded - frames) // 2)


def place_cut(cut: Cut, *, window: Window) -> int:
    """Return where in the samples that were read the cut begins; below 0 it begins with zeros."""
    return window.start - cut.lead - window.read_start


def triangle(frames: int, *, power: float) -> Samples:
    """Return Demucs' weights of a window: a triangle, normalised by its maximum, to `power`."""
    rising = np.arange(1, frames // 2 + 1, dtype=np.float32)
    falling = np.arange(frames - frames // 2, 0, -1, dtype=np.float32)
    weights: Samples = np.concatenate([rising, falling])
    return (weights / weights.max()) ** np.float32(power)


def _grid(network: Network, *, shift: int, options: Options, stem_weights: dict[str, float]) -> Pass:
    window = window_frames(network, options=options)
    whole = cut_window(network, frames=window, options=options)
    # One frame more on the left: with an odd rest, halves of the two paddings may differ by one.
    odd = 1 if whole.frames > window else 0
    return Pass(
        window=window,
        hop=max(1, int((1 - options.overlap) * window)),
        offset=-shift,
        context_left=whole.lead + odd,
        context_right=whole.frames - window - whole.lead,
        weights=triangle(window, power=options.transition_power),
        stem_weights=stem_weights,
        tail="centre",
    )
