"""The engine under the harness against `demucs.api.Separator`, with small networks of random weights.

One process with the interpreter of the engine's environment works through all cases (`against_package`), because it
takes seconds to import torch. Everything skips where that environment is not installed.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

ENGINE = Path(__file__).resolve().parent.parent
ROOT = ENGINE.parent.parent
HERE = Path(__file__).resolve().parent
RATE = 44100
STEMS = ("drums", "bass", "other", "vocals")
SIX_STEMS = (*STEMS, "guitar", "piano")
PARAMETERS = ("shifts", "overlap", "transition_power", "segment")
TOLERANCE = 1e-6
"""Of the difference's energy against the stem's, as amplitudes."""

PEAK_TOLERANCE = 4e-6
"""Of the largest difference against the largest sample: one sample in many is off by more than all together."""

Case = dict[str, Any]  # JSON


def _case(model: str, seconds: float, *, stems: tuple[str, ...] = STEMS, signal: str = "music", **fields: Any) -> Case:
    frames = fields.pop("frames", round(seconds * RATE))
    parameters = {
        name: fields.pop(name) for name in ("shifts", "overlap", "transition_power", "segment") if name in fields
    }
    return {"model": model, "stems": stems, "frames": frames, "signal": signal, "parameters": parameters, **fields}


EXACT: Mapping[str, Case] = {
    "less than a window": _case("htdemucs", 1.0),
    "exactly one window": _case("htdemucs", 1.3),
    "several windows": _case("htdemucs", 4.1),
    "two frames": _case("htdemucs", 0, frames=2),
    "overlap 0.1": _case("htdemucs", 2.6, overlap=0.1),
    "overlap 0.5": _case("htdemucs", 2.2, overlap=0.5),
    "overlap 0.75": _case("htdemucs", 1.7, overlap=0.75),
    "one shift": _case("htdemucs", 1.7, shifts=1),
    "two shifts": _case("htdemucs", 1.7, shifts=2, overlap=0.1),
    "shorter segment": _case("htdemucs", 2.1, segment=1.1),
    "transition power": _case("htdemucs", 1.7, transition_power=2.5),
    "opposite channels": _case("htdemucs", 1.0, signal="antiphase"),
    "two threads": _case("htdemucs", 1.7, threads=2),
    "a network per stem": _case("htdemucs_ft", 1.2, shifts=1),
    "one stem of a bag": _case("htdemucs_ft", 1.2, stems=("vocals",)),
    "six stems": _case("htdemucs_6s", 1.7, stems=SIX_STEMS),
    "hybrid": _case("hdemucs_mmi", 2.7),
    "hybrid, longer segment and shifts": _case("hdemucs_mmi", 2.3, segment=1.6, shifts=1, overlap=0.5),
    "hybrid, several windows at once": _case("hdemucs_mmi", 3.3, batch=3),
    "unequal weights, in time and hybrid": _case("mdx", 2.3, signal="mono"),
    "unequal weights, shifts": _case("mdx", 1.5, shifts=1, overlap=0.6),
    "an odd rest in time": _case("mdx", 0, frames=RATE + 12_346),
}
QUANTISED: Mapping[str, Case] = {"quantised": _case("mdx_q", 1.9)}
EDGE: Mapping[str, Case] = {
    "silence": _case("htdemucs", 1.7, signal="silence", compare=False),
    "silence, in time": _case("mdx", 1.0, signal="silence", compare=False),
    "one frame": _case("htdemucs", 0, frames=1, compare=False),
}
REFUSED: Mapping[str, tuple[Case, str, str]] = {
    "longer than trained": (_case("htdemucs", 1, segment=9.0), "bad_option", "1.3 s"),
    "unknown parameter": (_case("htdemucs", 1) | {"parameters": {"speed": 2}}, "bad_option", "speed"),
    "half precision on a CPU": (_case("htdemucs", 1, precision="half"), "bad_option", "cuda"),
    "no such device": (_case("htdemucs", 1, device="cuda:7"), "device_unavailable", "cpu"),
    "unknown stem": (_case("htdemucs", 1, stems=("kazoo",)), "engine_protocol", "kazoo"),
    "file missing": (_case("htdemucs", 1, damage="missing"), "model_missing", "nowhere.th"),
    "bag missing": (_case("htdemucs", 1, damage="bag missing"), "model_missing", "htdemucs.yaml"),
    "file cut off": (_case("htdemucs", 1, damage="cut off"), "model_damaged", "htdemucs"),
    "NaN weights": (_case("htdemucs", 1, damage="nan"), "model_damaged", "NaN"),
}
ALL = {**EXACT, **EDGE, **{name: case for name, (case, _, _) in REFUSED.items()}}


def find_python(environment: str) -> str:
    """Return the interpreter of an environment of the engine; skip where there is none."""
    root = Path(os.environ.get("IRONCLAD_ENVIRONMENTS_PATH") or Path.home() / ".ironclad" / "engines")
    python = root / environment / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{python} is missing; run `pipelinectl engines install demucs`")
    return str(python)


def work_through(cases: Mapping[str, Case], *, python: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Return the script's answer to every case, by name."""
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "engines" / "_harness"), str(ENGINE)]),
        "HF_HUB_OFFLINE": "1",
    }
    for model in {case["model"] for case in cases.values()}:
        command = [python, str(ROOT / "benchmarks" / "demucs_models.py"), model, str(folder / model), "--small"]
        subprocess.run(command, check=True, env=environ, timeout=120, capture_output=True)
    (folder / "cases.json").write_text(
        json.dumps([{**case, "id": name, "folder": str(folder / case["model"])} for name, case in cases.items()]),
        encoding="utf-8",
    )
    command = [python, str(HERE / "against_package.py"), str(folder / "cases.json")]
    answer = subprocess.run(command, check=True, env=environ, timeout=900, stdout=subprocess.PIPE, text=True)
    return {found["id"]: found for found in map(json.loads, answer.stdout.splitlines())}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Work through all cases of the default environment."""
    return work_through(ALL, python=find_python("demucs"), folder=tmp_path_factory.mktemp("exactness"))


@pytest.mark.parametrize("name", EXACT)
def test_stems_equal_those_of_the_package(answers: dict[str, dict[str, Any]], name: str) -> None:
    assert_equal(answers[name])


def test_transformers_are_computed_by_the_fast_network_and_the_others_by_the_package(
    answers: dict[str, dict[str, Any]],
) -> None:
    assert answers["six stems"]["fast"] == [True]
    assert answers["a network per stem"]["fast"] == [True] * 4
    assert answers["an odd rest in time"]["fast"] == [False] * 4


@pytest.mark.long
def test_quantised_networks_give_what_they_give_in_the_package(tmp_path: Path) -> None:
    python = find_python("demucs-quantised")
    assert_equal(work_through(QUANTISED, python=python, folder=tmp_path)["quantised"])


def assert_equal(answer: dict[str, Any]) -> None:
    """Assert that the script found the same stems twice, and something to hear in them."""
    assert "failure" not in answer, answer
    assert answer["loudest"] > 1e-4, answer
    assert answer["energy"] < TOLERANCE, answer
    assert answer["peak"] < PEAK_TOLERANCE, answer


@pytest.mark.parametrize("name", ["silence", "silence, in time"])
def test_silence_stays_silence(answers: dict[str, dict[str, Any]], name: str) -> None:
    assert answers[name]["loudest"] == 0.0


def test_one_frame_gives_finite_stems_where_the_package_gives_nan(answers: dict[str, dict[str, Any]]) -> None:
    assert answers["one frame"]["finite"]


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_is_refused_by_its_code_without_output(
    answers: dict[str, dict[str, Any]], name: str
) -> None:
    _, code, word = REFUSED[name]
    assert answers[name]["failure"]["code"] == code
    assert word in answers[name]["failure"]["detail"]
    assert not answers[name]["output"]
