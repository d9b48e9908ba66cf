"""Requests checked against the engines there are."""

from typing import Any

import pytest

from ironclad_assets.contracts.v1.engine import EngineManifest
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import ErrorCode, Refusal
from ironclad_assets.intake.options import (
    LONGEST_ENTRY,
    MOST_ENTRIES,
    change_options,
    check_options,
    make_options,
    parse_parameters,
)


def make_manifest(name: str, *stems: str) -> EngineManifest:
    model = {"name": "small", "stems": stems, "sample_rate_hz": 44100, "channels": 2}
    return EngineManifest.model_validate(
        {
            "name": name,
            "version": "1",
            "kind": "separation",
            "protocol": 1,
            "description": "",
            "licence": "MIT",
            "entry": "m:C",
            "environment": "core",
            "default_model": "small",
            "models": [model],
        }
    )


ENGINES = {"four": make_manifest("four", "vocals", "drums", "bass", "other"), "one": make_manifest("one", "mixture")}
ENGINES["choir"] = make_manifest("choir", "lead_vocals", "backing_vocals", "rest")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"engine": "four"},
        {"engine": "four", "model": "small", "targets": ["vocals", "drums+bass"], "format": "mp3"},
        {"engine": "one", "targets": ["mixture"]},
        {"engine": "choir", "targets": ["instrumental", "lead_vocals+rest"]},
    ],
)
def test_what_an_engine_can_do_is_accepted(given: dict[str, Any]) -> None:
    check_options(make_options(**given), ENGINES, system=JobOptions(engine="four"))


@pytest.mark.parametrize(
    ("given", "code", "named"),
    [
        ({"engine": "nine"}, "unknown_engine", "'nine' is not installed, only choir, four, one"),
        ({"engine": "four", "model": "large"}, "unknown_model", "no model 'large', only small"),
        (
            {"engine": "four", "targets": ["guitar"]},
            "unknown_target",
            "four with small: 'guitar' needs guitar; .* vocals, drums",
        ),
        ({"engine": "four", "targets": ["drums+guitar"]}, "unknown_target", "'drums\\+guitar' needs guitar"),
        ({"engine": "one"}, "unknown_target", "'instrumental' needs vocals"),
        ({"targets": ["guitar"]}, "unknown_target", "needs guitar"),
        ({"targets": []}, "unknown_target", "name at least one target"),
        ({"targets": ["Not A Target"]}, "unknown_target", "'Not A Target' is not a target"),
        ({"format": "aiff"}, "unknown_format", "'aiff'"),
        ({"engine": "../x"}, "bad_option", "'../x'"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name_with_what_there_is(
    given: dict[str, Any], code: str, named: str
) -> None:
    """SPLIT-002."""
    with pytest.raises(Refusal, match=named) as caught:
        check_options(make_options(**given), ENGINES, system=JobOptions(engine="four"))
    assert caught.value.code.code == code


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (["drums+bass", "vocals", "bass+drums"], "'bass\\+drums' is 'drums\\+bass' in another order"),
        (["vocals", "vocals"], "a target is named twice"),
    ],
)
def test_the_same_audio_is_not_made_twice(targets: list[str], says: str) -> None:
    with pytest.raises(Refusal, match=says) as caught:
        make_options(targets=targets)
    assert caught.value.code is ErrorCode.UNKNOWN_TARGET


def test_a_request_is_as_large_as_allowed_and_no_larger() -> None:
    names = [f"stem{number}" for number in range(MOST_ENTRIES + 1)]
    assert make_options(targets=names[1:]).targets == tuple(names[1:])
    with pytest.raises(Refusal, match="65 are named; the most is 64"):
        make_options(targets=names)
    parameters = {"a": "x" * (LONGEST_ENTRY - 2)}
    assert make_options(parameters=parameters).parameters == parameters
    with pytest.raises(Refusal, match="has 1001 characters; the most is 1000"):
        make_options(parameters={"a": "x" * (LONGEST_ENTRY - 1)})


def test_without_any_engine_the_list_says_none() -> None:
    with pytest.raises(Refusal, match="only none"):
        check_options(JobOptions(engine="four"), {})
    check_options(JobOptions(), {})


@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        ({"engine": "four", "model": "small", "parameters": {"a": 1}, "preset": "best", "stems": ["drums"]},
         {"engine": "one"}, {"engine": "one"}),
        ({"engine": "four", "parameters": {"a": 1}}, {"engine": "four", "parameters": {"b": "2"}},
         {"engine": "four", "parameters": {"a": 1, "b": "2"}}),
        ({"parameters": {"a": 1}}, {"parameters": {"a": ""}}, {}),
        ({"model": "small", "parameters": {"a": 1}}, {"preset": "fast"}, {"preset": "fast"}),
        ({"format": "mp3", "bitrate_kbps": 192}, {"format": "flac"}, {"format": "flac"}),
        ({"format": "mp3", "bitrate_kbps": 192}, {"format": "mp3"}, {"format": "mp3", "bitrate_kbps": 192}),
        ({"stems": ["drums"]}, {"residual": True}, {"stems": ["drums"], "residual": True}),
    ],
)  # fmt: skip
def test_a_change_drops_what_was_chosen_for_something_else(
    before: dict[str, Any], change: dict[str, Any], after: dict[str, Any]
) -> None:
    assert change_options(JobOptions(**before), change=JobOptions(**change)).named() == after


@pytest.mark.parametrize("text", ["shifts", "=1", " =1"])
def test_a_parameter_without_name_or_value_is_refused(text: str) -> None:
    with pytest.raises(Refusal, match="is not NAME=VALUE"):
        parse_parameters([text])
    with pytest.raises(Refusal, match="given twice"):
        parse_parameters(["a=1", "a=2"])
