"""Overlap-add against plain formulas: what Demucs, Spleeter and bags of models will ask of it."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from ironclad_harness.engine import EngineError, Pass, Samples, Window, crossfade
from ironclad_harness.grid import Grid, check_pass
from ironclad_harness.overlap import OverlapAdd

STEMS = ("one", "two")


def song(frames: int, *, seed: int = 0) -> Samples:
    return np.random.default_rng(seed).normal(0, 1, (2, frames)).astype(np.float32)


def read(y: Samples, *, start: int, frames: int) -> Samples:
    """Return a range of `y` with zeros outside."""
    out = np.zeros((2, frames), np.float32)
    for at in range(max(start, 0), min(start + frames, y.shape[1])):
        out[:, at - start] = y[:, at]
    return out


def strange_model(y: Samples, *, shift: float = 0.0) -> Samples:
    """Return two stems that depend on where in the window a sample lies, as those of a real model do."""
    position = np.sin(np.arange(y.shape[1]) * 0.1 + shift).astype(np.float32)
    return np.stack([y * position, np.roll(y, 1, axis=1) * (1 - position)])


def stream(
    y: Samples, *, passes: list[Pass], model: Callable[[Samples, Window], Samples], take_every: int = 1
) -> Samples:
    """Run all windows through `model`, taking finished frames after every `take_every` windows."""
    overlap = OverlapAdd(passes, stems=STEMS, channels=2, frames=y.shape[1])
    pieces = []
    for count in itertools.count(1):
        if overlap.done_windows == overlap.windows:
            break
        number = overlap.next_pass()
        current = overlap.passes[number]
        span = current.grid.span(current.next_window)
        window = Window(
            pass_index=number,
            index=current.next_window,
            start=span.start,
            frames=span.frames,
            read_start=span.read_start,
        )
        current.add(model(read(y, start=span.read_start, frames=span.read_frames), window), span=span)
        if count % take_every == 0:
            pieces.append(overlap.take())
    pieces.append(overlap.take())
    return np.concatenate(pieces, axis=2)


def relative_error(found: Samples, expected: Samples) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("frames", [1, 99, 100, 101, 1234])
def test_windows_returned_as_they_came_add_up_to_the_song(frames: int) -> None:
    y = song(frames)
    plan = Pass(window=100, hop=60, weights=crossfade(100, overlap=40), context_left=7, context_right=3, offset=-11)
    found = stream(y, passes=[plan], model=lambda x, _: np.stack([x, x]))
    assert found.shape == (2, 2, frames)
    assert np.allclose(found[0], y, atol=1e-6)


def demucs_reference(y: Samples, *, segment: int, overlap: float, shift: int | None, max_shift: int) -> Samples:
    """Return what `demucs.apply.apply_model` computes: triangle weights, centred short segments, one shift."""
    length = y.shape[1]
    lead = 0 if shift is None else max_shift - shift
    total = length + lead
    virtual = np.concatenate([np.zeros((2, lead), np.float32), y], axis=1)
    ramp = np.concatenate([np.arange(1, segment // 2 + 1), np.arange(segment - segment // 2, 0, -1)])
    weight = (ramp / ramp.max()).astype(np.float32)
    out, sums = np.zeros((2, 2, total), np.float32), np.zeros(total, np.float32)
    for offset in range(0, total, int((1 - overlap) * segment)):
        size = min(segment, total - offset)
        missing = segment - size
        chunk = read(virtual, start=offset - missing // 2, frames=segment)
        result = strange_model(chunk)[..., missing // 2 : missing // 2 + size]
        out[..., offset : offset + size] += weight[:size] * result
        sums[offset : offset + size] += weight[:size]
    return (out / sums)[..., lead:]


@pytest.mark.parametrize("frames", [50, 343, 1000, 2801])
@pytest.mark.parametrize("overlap", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("shift", [None, 0, 17, 29])
def test_demucs_streams_to_the_result_of_its_own_package(frames: int, overlap: float, shift: int | None) -> None:
    """SPLIT-009: streamed within 1e-6 of un-chunked."""
    segment, max_shift = 343, 30
    ramp = np.concatenate([np.arange(1, segment // 2 + 1), np.arange(segment - segment // 2, 0, -1)])
    plan = Pass(
        window=segment,
        hop=int((1 - overlap) * segment),
        offset=0 if shift is None else -(max_shift - shift),
        weights=(ramp / ramp.max()).astype(np.float32),
        tail="centre",
    )
    y = song(frames)
    expected = demucs_reference(y, segment=segment, overlap=overlap, shift=shift, max_shift=max_shift)
    found = stream(y, passes=[plan], model=lambda x, _: strange_model(x))
    assert relative_error(found, expected) < 1e-6


def test_additive_windows_are_only_added() -> None:
    """Spleeter: windows of its own synthesis, on a grid with a leading frame of zeros, that add up."""
    y = song(3000)
    synthesis = np.sin(np.pi * (np.arange(200) + 0.5) / 200).astype(np.float32) ** 2
    plan = Pass(window=200, hop=100, offset=-100, normalised=False)
    found = stream(y, passes=[plan], model=lambda x, _: np.stack([x, -x]) * synthesis)
    assert np.allclose(found[0], y, atol=1e-5)
    assert np.allclose(found[1], -y, atol=1e-5)


def test_passes_are_averaged_with_their_weights_per_stem() -> None:
    y = song(2000)
    passes = [
        Pass(window=300, hop=200, stem_weights={"one": 3.0}),
        Pass(window=250, hop=250, stem_weights={"two": 0.0}),
    ]

    def model(x: Samples, window: Window) -> Samples:
        return np.stack([x * (window.pass_index + 1), x * (window.pass_index + 1)])

    found = stream(y, passes=passes, model=model)
    assert np.allclose(found[0], y * (3 * 1 + 1 * 2) / 4, atol=1e-5)
    assert np.allclose(found[1], y, atol=1e-5)


@pytest.mark.parametrize("take_every", [2, 3, 1000])
def test_when_frames_are_taken_does_not_change_a_bit(take_every: int) -> None:
    y = song(3000)
    passes = [
        Pass(window=300, hop=170, offset=-30, weights=crossfade(300, overlap=120)),
        Pass(window=410, hop=300, tail="centre", stem_weights={"one": 2.5}),
    ]
    model = lambda x, window: strange_model(x, shift=window.pass_index)  # noqa: E731
    often = stream(y, passes=passes, model=model)
    seldom = stream(y, passes=passes, model=model, take_every=take_every)
    assert np.array_equal(often, seldom)


def test_memory_does_not_grow_with_the_song() -> None:
    plan = Pass(window=300, hop=170)
    overlap = OverlapAdd([plan], stems=STEMS, channels=2, frames=1_000_000)
    sizes = []
    for _ in range(500):
        current = overlap.passes[0]
        span = current.grid.span(current.next_window)
        current.add(np.zeros((2, 2, span.read_frames), np.float32), span=span)
        overlap.take()
        sizes.append(overlap.passes[0].state()[0].size)
    assert max(sizes) == sizes[0]


@pytest.mark.parametrize(
    "plan",
    [
        Pass(window=100, hop=101),
        Pass(window=100, hop=0),
        Pass(window=100, hop=50, offset=1),
        Pass(window=100, hop=50, offset=-100),
        Pass(window=100, hop=50, context_left=-1),
        Pass(window=100, hop=50, weights=np.ones(99, np.float32)),
        Pass(window=100, hop=50, weights=np.zeros(100, np.float32)),
        Pass(window=100, hop=50, stem_weights={"three": 1.0}),
        Pass(window=100, hop=50, stem_weights={"one": -1.0}),
        Pass(window=100, hop=50, stem_weights={"one": float("nan")}),
    ],
)
def test_a_pass_that_cannot_work_is_refused(plan: Pass) -> None:
    with pytest.raises(EngineError) as caught:
        check_pass(plan, stems=STEMS)
    assert caught.value.code == "engine_protocol"


def test_a_stem_without_any_weight_is_refused() -> None:
    with pytest.raises(EngineError, match="positive weight"):
        OverlapAdd([Pass(window=9, hop=9, stem_weights={"one": 0.0})], stems=STEMS, channels=2, frames=90)


def test_the_windows_of_a_grid_start_before_the_song_ends() -> None:
    grid = Grid(Pass(window=100, hop=50, offset=-20), song_frames=180)
    assert [grid.start(index) for index in range(grid.windows)] == [-20, 30, 80, 130]
    assert grid.start(grid.windows) == 180
