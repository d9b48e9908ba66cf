"""What a job may set, and what manifest and catalogue promise. Needs no environment of the engine's."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from ironclad_demucs.options import OVERLAP, SEGMENT_S, SHIFTS, TRANSITION_POWER, Options, read_options
from ironclad_harness.engine import EngineError

ENGINE = Path(__file__).resolve().parent.parent
FACEBOOK = "https://dl.fbaipublicfiles.com/demucs/"


def read(name: str) -> dict[str, Any]:
    return tomllib.loads((ENGINE / name).read_text(encoding="utf-8"))


def test_nothing_set_means_what_the_manifest_says() -> None:
    defaults = {name: spec["default"] for name, spec in read("engine.toml")["parameters"].items()}
    assert read_options({}) == read_options(defaults) == Options()


@pytest.mark.parametrize(
    ("name", "allowed"),
    [("shifts", SHIFTS), ("overlap", OVERLAP), ("transition_power", TRANSITION_POWER), ("segment", (0, SEGMENT_S[1]))],
)
def test_ranges_are_those_of_the_manifest(name: str, allowed: tuple[float, float]) -> None:
    spec = read("engine.toml")["parameters"][name]
    assert (spec["minimum"], spec["maximum"]) == allowed
    for value in allowed:
        read_options({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shifts", -1),
        ("shifts", 21),
        ("shifts", 1.5),
        ("shifts", True),
        ("shifts", "2"),
        ("overlap", 0.96),
        ("overlap", -0.1),
        ("overlap", float("nan")),
        ("transition_power", 0.5),
        ("segment", 0.5),
        ("segment", 61),
        ("segment", False),
        ("speed", 1),
    ],
)
def test_a_value_out_of_range_is_refused_by_name_and_range(name: str, value: float | str) -> None:
    with pytest.raises(EngineError, match=name) as caught:
        read_options({name: value})
    assert caught.value.code == "bad_option"


@pytest.mark.parametrize(
    ("segment", "window_s", "used"), [(0, 11.0, 11.0), (5, 11.0, 5.0), (20, 11.0, 11.0), (0, None, None)]
)
def test_a_shorter_window_to_save_memory_wins_over_a_longer_segment(
    segment: float, window_s: float | None, used: float | None
) -> None:
    assert read_options({"segment": segment}, window_s=window_s).segment_s == used


def test_presets_set_parameters_that_are_allowed() -> None:
    manifest = read("engine.toml")
    assert set(manifest["presets"]) == {"fast", "balanced", "best"}
    for preset in manifest["presets"].values():
        read_options({name: value for name, value in preset.items() if name != "model"})
        assert preset.get("model", "htdemucs") in [model["name"] for model in manifest["models"]]


def test_every_model_has_weights_in_the_catalogue_and_every_smaller_one_the_same_stems() -> None:
    models = {model["name"]: model for model in read("engine.toml")["models"]}
    assert {model["weights"] for model in models.values()} == {
        weights["name"] for weights in read("models.toml")["weights"]
    }
    for model in models.values():
        smaller = models[model.get("smaller", model["name"])]
        assert [smaller[key] for key in ("stems", "channels", "sample_rate_hz")] == [
            model[key] for key in ("stems", "channels", "sample_rate_hz")
        ]


@pytest.mark.parametrize("weights", read("models.toml")["weights"], ids=lambda weights: weights["name"])
def test_a_bag_names_the_files_that_are_fetched_with_it(weights: dict[str, Any]) -> None:
    bag = weights["text"][f"{weights['name']}.yaml"]
    named = re.findall(r"'([0-9a-f]{8})'", bag)
    assert set(named) == {file["name"].partition("-")[0] for file in weights["files"]}
    assert weights["consent"]
    for file in weights["files"]:
        assert file["name"] == f"{file['name'].partition('-')[0]}-{file['sha256_prefix']}.th"
        assert file.get("sha256", file["sha256_prefix"]).startswith(file["sha256_prefix"])
        assert all(url.startswith(FACEBOOK) and url.endswith(f"/{file['name']}") for url in file["urls"])


def test_models_that_need_diffq_live_in_an_environment_of_their_own() -> None:
    manifest = read("engine.toml")
    quantised = {model["name"] for model in manifest["models"] if model.get("environment") == "quantised"}
    assert quantised == {"mdx_q", "mdx_extra_q"}
    assert "diffq" not in manifest["environments"]["default"]["requirements"]
    assert "diffq" in manifest["environments"]["quantised"]["requirements"]
