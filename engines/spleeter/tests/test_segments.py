"""Where segments lie, and which requests are refused before anything is loaded."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ironclad_harness.engine import EngineContext, EngineError, ModelFile, Statistics
from ironclad_harness.grid import Grid, check_pass
from ironclad_spleeter.engine import SpleeterEngine
from ironclad_spleeter.segments import check_request, segment_frames, segment_pass

CONTEXT = EngineContext(
    model="4stems",
    stems=("vocals", "drums", "bass", "other"),
    parameters={},
    sample_rate_hz=44_100,
    channels=2,
    frames=44_100,
    statistics=Statistics(mean=0.0, std=0.1, peak=0.5, rms=0.1),
    device="cpu",
    threads=1,
    seed=0,
)


@pytest.mark.parametrize("samples", [1, 520_191, 520_192, 520_193, 10**9])
def test_there_are_as_many_segments_as_the_package_makes(samples: int) -> None:
    """One frame of zeros before, a frame wherever one begins before the end, 512 at a time."""
    frames = -(-(samples + 4096) // 1024)
    assert Grid(segment_pass(512), samples).windows == -(-frames // 512)


@pytest.mark.parametrize("frames", [64, 256, 512])
def test_segments_overlap_by_the_frames_that_cross_their_border(frames: int) -> None:
    plan = segment_pass(frames)
    check_pass(plan, stems=CONTEXT.stems)
    assert plan.window - plan.hop == 4096 - 1024
    assert not plan.normalised


@pytest.mark.parametrize(
    ("window_s", "frames"), [(None, 512), (60.0, 512), (11.9, 512), (11.88, 448), (5.95, 256), (2.98, 128), (1.49, 64)]
)
def test_a_shorter_window_is_the_longest_that_the_networks_can_halve(window_s: float | None, frames: int) -> None:
    assert segment_frames(window_s) == frames


def test_a_window_that_is_too_short_is_refused() -> None:
    with pytest.raises(EngineError, match=r"1\.49 s is the least"):
        segment_frames(1.4)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model": "3stems"}, "engine_protocol"),
        ({"stems": ("vocals", "piano")}, "engine_protocol"),
        ({"channels": 1}, "engine_protocol"),
        ({"sample_rate_hz": 48_000}, "engine_protocol"),
        ({"device": "cuda"}, "device_unavailable"),
        ({"precision": "half"}, "device_unavailable"),
    ],
)
def test_what_spleeter_cannot_do_is_refused_by_name(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(EngineError) as caught:
        check_request(replace(CONTEXT, **changes))
    assert caught.value.code == code


@pytest.mark.parametrize("model", ["2stems", "2stems-reference"])
def test_fast_and_reference_models_are_of_one_configuration(model: str) -> None:
    assert check_request(replace(CONTEXT, model=model, stems=("vocals", "accompaniment"))).weights == "2stems"


@pytest.mark.parametrize("files", [lambda path: {}, lambda path: {"4stems.safetensors": ModelFile(path, "")}])
def test_absent_weights_are_missing_not_random(tmp_path: Path, files: Callable[[Path], dict[str, ModelFile]]) -> None:
    with pytest.raises(EngineError, match="4stems") as caught:
        SpleeterEngine(replace(CONTEXT, model_files=files(tmp_path / "absent")))
    assert caught.value.code == "model_missing"
