"""What a job gets: its own wishes over the user's and the system's defaults."""

from typing import Any

import pytest

from ironclad_assets.contracts.v1.engine import EngineManifest, ParameterSpec
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import Refusal
from ironclad_assets.intake.choice import Choice, choose, choose_output
from ironclad_assets.intake.parameters import describe, read_value

FOUR = ("drums", "bass", "other", "vocals")


def make_manifest(name: str, **fields: Any) -> EngineManifest:
    plain = {"stems": FOUR, "sample_rate_hz": 44100, "channels": 2}
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
            "default_model": "base",
            "models": [
                {"name": "base", **plain},
                {"name": "fine", **plain},
                {"name": "six", **plain, "stems": (*FOUR, "guitar", "piano")},
            ],
            **fields,
        }
    )


ENGINES = {
    "plain": make_manifest("plain"),
    "deep": make_manifest(
        "deep",
        parameters={
            "overlap": {"type": "float", "default": 0.25, "minimum": 0, "maximum": 0.99, "description": ""},
            "shifts": {"type": "int", "default": 1, "minimum": 0, "description": "", "models": ["base", "fine"]},
            "mode": {"type": "str", "default": "soft", "choices": ["soft", "hard"], "description": ""},
        },
        presets={"fast": {"overlap": 0.1}, "best": {"model": "fine", "shifts": 2, "overlap": 0.5}},
    ),
}
DEFAULTS = {"overlap": 0.25, "shifts": 1, "mode": "soft"}


def pick(job: dict[str, Any], *, user: dict[str, Any] | None = None, system: dict[str, Any] | None = None) -> Choice:
    return choose(
        JobOptions(**job),
        engines=ENGINES,
        user=JobOptions(**(user or {})),
        system=JobOptions(**(system or {"engine": "plain"})),
    )


@pytest.mark.parametrize(
    ("job", "user", "system", "engine", "model"),
    [
        ({}, {}, {"engine": "plain"}, "plain", "base"),
        ({}, {"engine": "deep"}, {"engine": "plain"}, "deep", "base"),
        ({"engine": "plain"}, {"engine": "deep", "model": "fine"}, {"engine": "plain"}, "plain", "base"),
        ({}, {}, {"engine": "deep", "model": "fine"}, "deep", "fine"),
        ({}, {"model": "six"}, {"engine": "deep", "model": "fine"}, "deep", "six"),
        ({"model": "base"}, {"engine": "deep", "model": "fine"}, {"engine": "plain"}, "deep", "base"),
        ({"engine": "deep"}, {}, {"engine": "plain", "preset": "best"}, "deep", "fine"),
        ({"preset": "best", "engine": "deep"}, {"engine": "deep", "model": "six"}, {"engine": "plain"}, "deep", "fine"),
        ({"preset": "best", "model": "base", "engine": "deep"}, {}, {"engine": "plain"}, "deep", "base"),
        ({"preset": "fast", "engine": "deep"}, {}, {"engine": "plain", "preset": "best"}, "deep", "base"),
    ],
)
def test_engine_and_model_are_the_jobs_else_the_users_else_the_systems(
    job: dict[str, Any], user: dict[str, Any], system: dict[str, Any], engine: str, model: str
) -> None:
    """SPLIT-005."""
    choice = pick(job, user=user, system=system)
    assert (choice.engine.engine, choice.engine.model, choice.model.name) == (engine, model, model)


@pytest.mark.parametrize(
    ("job", "user", "parameters"),
    [
        ({}, {}, DEFAULTS),
        ({"parameters": {"shifts": "3"}}, {}, DEFAULTS | {"shifts": 3}),
        ({"preset": "best"}, {}, DEFAULTS | {"shifts": 2, "overlap": 0.5}),
        ({"preset": "best", "parameters": {"overlap": 0}}, {}, DEFAULTS | {"shifts": 2, "overlap": 0.0}),
        ({"preset": "best"}, {"parameters": {"overlap": 0.9, "mode": "hard"}},
         {"overlap": 0.5, "shifts": 2, "mode": "hard"}),
        ({"preset": "fast"}, {"preset": "best"}, DEFAULTS | {"overlap": 0.1}),
        ({"model": "six"}, {"preset": "best"}, {"overlap": 0.5, "mode": "soft"}),
        ({"model": "six"}, {"parameters": {"shifts": 5}}, {"overlap": 0.25, "mode": "soft"}),
    ],
)  # fmt: skip
def test_parameters_are_the_jobs_over_its_presets_over_the_users_over_the_engines(
    job: dict[str, Any], user: dict[str, Any], parameters: dict[str, Any]
) -> None:
    choice = pick({"engine": "deep", **job}, user={"engine": "deep", **user})
    assert choice.engine.parameters == parameters
    assert {name: type(value) for name, value in choice.engine.parameters.items()} == {
        name: type(DEFAULTS[name]) for name in parameters
    }


def test_what_was_resolved_resolves_to_itself() -> None:
    """Else a run that takes over after a crash would work on something else."""
    user = {"engine": "deep", "preset": "best", "format": "mp3", "bitrate_kbps": 192, "stems": ["vocals"]}
    first = pick({"allow_smaller_model": True}, user=user)
    again = choose(first.options, engines=ENGINES)
    assert (again.engine, again.options) == (first.engine, first.options)
    assert first.options.allow_smaller_model
    assert first.options.stems == ("vocals",)


@pytest.mark.parametrize(
    ("user", "job", "field", "value"),
    [
        ({"format": "mp3", "bitrate_kbps": 192}, {}, "bitrate_kbps", 192),
        ({"format": "mp3", "bitrate_kbps": 192}, {"format": "flac"}, "bitrate_kbps", None),
        ({"format": "wav", "sample_format": "float32"}, {"format": "flac"}, "sample_format", None),
        ({"format": "wav", "sample_format": "int24"}, {"format": "flac"}, "sample_format", "int24"),
        ({"residual": True}, {}, "residual", True),
        ({"residual": True}, {"residual": False}, "residual", False),
        ({"targets": ["vocals"]}, {}, "targets", ("vocals",)),
        ({"targets": ["vocals"]}, {"targets": ["instrumental"]}, "targets", ("instrumental",)),
        ({"stems": ["vocals"]}, {}, "stems", ("vocals",)),
        ({"stems": ["vocals"]}, {"stems": ["all"]}, "stems", None),
        ({"stems": []}, {}, "stems", ()),
        ({"engine": "deep", "model": "six", "stems": ["piano"]}, {"model": "base"}, "stems", None),
        ({"engine": "deep", "model": "six", "stems": ["piano"]}, {"engine": "plain"}, "stems", None),
        ({"engine": "deep", "preset": "best"}, {"engine": "plain"}, "preset", None),
    ],
)
def test_a_default_that_does_not_go_with_the_choice_is_passed_over(
    user: dict[str, Any], job: dict[str, Any], field: str, value: object
) -> None:
    assert getattr(pick(job, user=user).options, field) == value


@pytest.mark.parametrize(
    ("job", "user", "code", "said"),
    [
        ({"engine": "nine"}, {}, "unknown_engine", "engine 'nine' is not installed, only deep, plain"),
        ({}, {"engine": "nine"}, "unknown_engine", "engine 'nine', the default of the user, is not installed"),
        ({"model": "nine"}, {}, "unknown_model", "plain has no model 'nine', only base, fine, six"),
        ({"preset": "fast"}, {}, "bad_option", "plain has no preset 'fast', only none"),
        ({"parameters": {"shifts": 1}}, {}, "bad_option", "has no parameter 'shifts', only none"),
        ({"engine": "deep", "model": "six", "parameters": {"shifts": 1}}, {}, "bad_option", "only mode, overlap"),
        ({"engine": "deep", "parameters": {"overlap": 1.0}}, {}, "bad_option", "allowed is a number from 0 to 0.99"),
        ({"engine": "deep", "parameters": {"mode": "loud"}}, {}, "bad_option", "allowed is one of soft, hard"),
        ({"stems": ["piano"]}, {}, "unknown_target", "plain with base: there is no stem piano"),
        ({"targets": ["piano"]}, {}, "unknown_target", "plain with base: 'piano' needs piano"),
        ({"sample_format": "float32"}, {}, "bad_option", "float32 does not go with flac"),
        ({"bitrate_kbps": 192}, {"format": "wav"}, "bad_option", "192 does not go with wav"),
    ],
)
def test_what_a_job_names_and_is_not_there_is_refused_with_what_there_is(
    job: dict[str, Any], user: dict[str, Any], code: str, said: str
) -> None:
    """SPLIT-002."""
    with pytest.raises(Refusal) as caught:
        pick(job, user=user)
    assert caught.value.code.code == code
    assert said in caught.value.detail


def test_another_model_has_other_stems() -> None:
    choice = pick({"engine": "deep", "model": "six", "stems": ["piano", "guitar"], "targets": ["guitar+piano"]})
    assert choice.engine.stems == (*FOUR, "guitar", "piano")
    assert choice.options.stems == ("piano", "guitar")


def test_the_reason_says_who_decided() -> None:
    choice = pick({}, user={"engine": "deep", "preset": "best"})
    assert choice.reason == "engine deep 1 (user), model fine (preset), preset best (user)"


def test_output_alone_needs_no_engine() -> None:
    made_by = pick({"engine": "deep"}).engine
    options = choose_output(JobOptions(stems=("vocals",)), made_by=made_by, user=JobOptions(format="opus"))
    assert (options.engine, options.stems, options.format) == ("deep", ("vocals",), "opus")
    with pytest.raises(Refusal, match="does not go with opus"):
        choose_output(JobOptions(sample_format="int16"), made_by=made_by, user=JobOptions(format="opus"))


def spec(**fields: Any) -> ParameterSpec:
    return ParameterSpec(description="", **fields)


NUMBER = spec(type="float", default=0.5, minimum=0, maximum=1)
WHOLE = spec(type="int", default=1, minimum=0)
SWITCH = spec(type="bool", default=False)
WORD = spec(type="str", default="")


@pytest.mark.parametrize(
    ("given", "wanted", "found"),
    [
        ("0.25", NUMBER, 0.25),
        (1, NUMBER, 1.0),
        ("12345678901234567890", WHOLE, 12345678901234567890),
        (2.0, WHOLE, 2),
        ("Yes", SWITCH, True),
        (False, SWITCH, False),
        ("anything", WORD, "anything"),
    ],
)
def test_a_value_is_read_as_the_type_of_its_parameter(given: Any, wanted: ParameterSpec, found: Any) -> None:
    read = read_value(given, name="p", spec=wanted)
    assert (read, type(read)) == (found, type(found))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("much", NUMBER), ("nan", NUMBER), ("inf", NUMBER), ("1e999", NUMBER), (True, NUMBER), (1.01, NUMBER),
        ("1" * 400, WHOLE),        ("1.5", WHOLE), (2.5, WHOLE), (-1, WHOLE), (False, WHOLE), ("", WHOLE),
        ("maybe", SWITCH), (1, SWITCH), (5, WORD),
    ],
)  # fmt: skip
def test_a_value_of_another_type_or_range_is_refused(given: Any, wanted: ParameterSpec) -> None:
    with pytest.raises(Refusal, match=r"parameter p is .*; allowed is "):
        read_value(given, name="p", spec=wanted)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (NUMBER, "a number from 0 to 1"),
        (WHOLE, "a whole number of at least 0"),
        (spec(type="float", default=0, maximum=0.5), "a number of at most 0.5"),
        (spec(type="int", default=0), "a whole number"),
        (SWITCH, "true or false"),
        (WORD, "text"),
    ],
)
def test_what_is_allowed_is_said_in_words(wanted: ParameterSpec, words: str) -> None:
    assert describe(wanted) == words
