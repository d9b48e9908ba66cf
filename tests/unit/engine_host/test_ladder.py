"""What is tried next when memory is out, in which order, and under which key."""

from typing import Any

import pytest

from ironclad_assets.contracts.v1.engine import EngineManifest
from ironclad_assets.engine_host.ladder import Footing, Ladder, derive_key

STEMS = ("vocals", "other")


def make_manifest(**fields: Any) -> EngineManifest:
    plain = {"stems": STEMS, "sample_rate_hz": 44100, "channels": 2}
    return EngineManifest.model_validate(
        {
            "name": "hungry",
            "version": "1",
            "kind": "separation",
            "protocol": 1,
            "description": "",
            "licence": "MIT",
            "entry": "m:C",
            "environment": "core",
            "default_model": "large",
            "devices": ["cpu", "cuda"],
            "precisions": ["full", "half"],
            "models": [
                {"name": "large", **plain, "smaller": "small", "smaller_windows_s": [2.0, 4.0]},
                {"name": "small", **plain, "smaller": "tiny"},
                {"name": "tiny", **plain},
                {"name": "odd", **plain, "smaller": "mono"},
                {"name": "mono", **plain, "channels": 1},
            ],
            **fields,
        }
    )


def climb(footing: Footing, ladder: Ladder) -> list[tuple[str, str]]:
    """Return every rung from `footing` down, taking the first each time."""
    rungs = []
    while step := next(ladder.steps(footing), None):
        rungs.append((step.action, step.value))
        footing = step.footing
    return rungs


TOP = Footing(model="large", device="cuda:1", batch=8)


def test_the_whole_way_down_changes_as_little_as_can_be_at_each_step() -> None:
    assert climb(TOP, Ladder(make_manifest(), allow_smaller_model=True)) == [
        ("batch", "4"),
        ("batch", "2"),
        ("batch", "1"),
        ("precision", "half"),
        ("device", "cpu"),
        ("window", "4 s"),
        ("window", "2 s"),
        ("model", "small"),
        ("model", "tiny"),
    ]


def test_nothing_is_left_out_of_turn_and_full_precision_comes_back_on_the_cpu() -> None:
    half = Footing(model="large", device="cuda", precision="half")
    step = next(Ladder(make_manifest()).steps(half))
    assert step.footing == Footing(model="large", device="cpu")


@pytest.mark.parametrize(
    ("fields", "ladder", "footing", "rungs"),
    [
        ({}, {}, Footing(model="large", device="cpu"), ["window", "window"]),
        ({}, {"fall_back_to_cpu": False}, Footing(model="tiny", device="cuda"), ["precision"]),
        ({"precisions": ["full"]}, {}, Footing(model="tiny", device="cuda"), ["device"]),
        ({"devices": ["cuda"]}, {}, Footing(model="tiny", device="cuda"), ["precision"]),
        ({"devices": ["cpu", "mps"]}, {}, Footing(model="tiny", device="mps"), ["device"]),
        ({}, {}, Footing(model="tiny", device="cpu", batch=3), ["batch"]),
        ({}, {"allow_smaller_model": True}, Footing(model="odd", device="cpu"), []),
        ({}, {"allow_smaller_model": True}, Footing(model="tiny", device="cpu"), []),
        ({}, {}, Footing(model="small", device="cpu"), []),
    ],
)
def test_only_what_engine_settings_and_user_allow_is_tried(
    fields: dict[str, Any], ladder: dict[str, bool], footing: Footing, rungs: list[str]
) -> None:
    assert [action for action, _ in climb(footing, Ladder(make_manifest(**fields), **ladder))] == rungs


def test_a_batch_keeps_the_key_and_everything_else_has_its_own() -> None:
    assert derive_key("k", start=TOP, now=TOP.model_copy(update={"batch": 1})) == "k"
    changes: list[dict[str, Any]] = [{"precision": "half"}, {"device": "cpu"}, {"window_s": 4.0}, {"model": "small"}]
    keys = {derive_key("k", start=TOP, now=TOP.model_copy(update=change)) for change in changes}
    assert len(keys) == len(changes)
    assert "k" not in keys
    assert derive_key("k", start=TOP, now=TOP.model_copy(update={"device": "cpu"})) in keys
    assert derive_key("other", start=TOP, now=TOP.model_copy(update={"device": "cpu"})) not in keys
