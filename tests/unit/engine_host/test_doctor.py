"""What the doctor says of bare and of broken machines."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ironclad_assets.engine_host import doctor
from ironclad_assets.engine_host.doctor import Finding, examine_engines
from ironclad_assets.engine_host.machine import Gpu, Machine
from ironclad_assets.engine_host.registry import find_engines
from ironclad_assets.settings import Settings
from tests.unit.engine_host.shop import Bench, entry, file_entry

MACHINE = Machine("Some CPU", frozenset({"avx", "avx2"}), cores=4, memory_bytes=16 * 2**30, gpus=(), gpu_problem="none")
GPU = replace(MACHINE, gpus=(Gpu("NVIDIA A10", 23028, "550.54"),))
FILE = file_entry("x", "https://weights.invalid/x")


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    set_machine(monkeypatch, MACHINE)
    monkeypatch.setattr(doctor, "find_interpreters", lambda: ())
    monkeypatch.setattr(doctor, "PIP_TIMEOUT_S", 60.0)
    monkeypatch.setenv("PIP_NO_INDEX", "1")


def set_machine(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    monkeypatch.setattr(doctor, "read_machine", lambda: machine)


def set_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_pip", lambda: Finding("pip", "ok", "its index answers"))


def examine(root: Path, monkeypatch: pytest.MonkeyPatch, **options: object) -> dict[str, Finding]:
    set_pip(monkeypatch)
    settings = Settings.model_validate(
        {
            "home": root,
            "engines_path": root / "engines",
            "environments_path": root / "envs",
            "models_path": root / "models",
            "default_engine": "fake",
            **options,
        }
    )
    engines = find_engines(settings.engines_path, environments=settings.environments_dir)
    return {finding.part: finding for finding in examine_engines(engines, settings=settings)}


def make_python(root: Path, answer: str, *, name: str = "fake") -> None:
    """Put an interpreter there that answers every question with `answer`."""
    python = root / "envs" / name / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\nprintf '%s' '{answer}'\n", encoding="utf-8")
    python.chmod(0o755)


def write_engine(root: Path, *, environment: str = "own", more: str = "") -> None:
    Bench(root).write(entry("small", FILE) + entry("large", FILE), environment=environment, more=more)
    path = root / "engines" / "fake" / "engine.toml"
    text = path.read_text(encoding="utf-8").replace('default_model = "small"', 'default_model = "none"')
    path.write_text(text.replace('environment = "own"', 'environment = "own"\ndevices = ["cpu", "cuda"]'), "utf-8")


def test_a_bare_machine_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = examine(tmp_path, monkeypatch)
    assert findings["engines"].level == "problem"
    assert "IRONCLAD_DEFAULT_ENGINE" in findings["engines"].remedy
    assert findings["manifests"].level == "problem"
    assert "is not there" in findings["manifests"].detail
    assert findings["processor"] == Finding("processor", "ok", "Some CPU, 4 cores; avx avx2")
    assert findings["gpu"].level == "note"
    assert findings["python"].level == "note"


def test_the_index_of_pip_is_asked_and_a_silent_one_is_no_outage() -> None:
    assert os.environ["PIP_NO_INDEX"] == "1"
    finding = doctor._pip()
    assert (finding.part, finding.level) == ("pip", "note")
    assert "engines install" in finding.remedy


def test_an_engine_that_nobody_wants_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_engine(tmp_path)
    findings = examine(tmp_path, monkeypatch, default_engine="spectral")
    assert findings["fake"] == Finding("fake", "note", "is not installed", "run `pipelinectl engines install fake`")


def test_a_default_engine_that_is_not_installed_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_engine(tmp_path)
    finding = examine(tmp_path, monkeypatch)["fake (default)"]
    assert finding.level == "problem"
    assert "pipelinectl engines install fake" in finding.detail


def test_a_default_model_without_weights_here_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_engine(tmp_path, environment="core")
    finding = examine(tmp_path, monkeypatch, default_model="small")["fake (default)"]
    assert finding.level == "problem"
    assert "models fetch" in finding.remedy


def test_an_engine_that_is_ready_says_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_engine(tmp_path, environment="core")
    finding = examine(tmp_path, monkeypatch)["fake (default)"]
    assert finding.level == "note"
    assert "is ready; models: 2 missing, 1 without weights; never verified" in finding.detail


def test_an_environment_says_what_it_computes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_engine(tmp_path)
    make_python(tmp_path, '{"torch": {"version": "2.0", "cuda": false, "devices": []}}')
    finding = examine(tmp_path, monkeypatch)["fake: default"]
    assert (finding.level, finding.detail) == ("ok", "torch 2.0 cannot use CUDA")


def test_a_build_without_cuda_is_a_problem_where_cuda_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_engine(tmp_path)
    make_python(tmp_path, '{"torch": {"version": "2.0", "cuda": false, "devices": []}}')
    set_machine(monkeypatch, GPU)
    findings = examine(tmp_path, monkeypatch, engine_device="cuda")
    assert findings["gpu"] == Finding("gpu", "ok", "NVIDIA A10, 22 GiB, driver 550.54")
    assert findings["fake: default"].level == "problem"
    set_machine(monkeypatch, MACHINE)
    assert examine(tmp_path, monkeypatch, engine_device="cuda:1")["gpu"].level == "problem"


def test_an_interpreter_that_does_not_answer_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_engine(tmp_path)
    make_python(tmp_path, "Segmentation fault")
    finding = examine(tmp_path, monkeypatch)["fake: default"]
    assert finding.level == "problem"
    assert "engines install fake" in finding.remedy


def test_an_interrupted_installation_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_engine(tmp_path)
    make_python(tmp_path, "{}")
    (tmp_path / "envs" / "fake" / ".building").touch()
    finding = examine(tmp_path, monkeypatch)["fake: default"]
    assert (finding.level, finding.detail) == ("problem", "its installation was interrupted")


def test_more_memory_for_a_worker_than_there_is_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finding = examine(tmp_path, monkeypatch, engine_memory_bytes=64 * 2**30)["memory"]
    assert finding.level == "note"
    assert "16.0 GiB; a worker may use 64.0 GiB" in finding.detail


def test_a_system_that_tells_no_processor_features_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_machine(monkeypatch, replace(MACHINE, cpu_features=None))
    assert examine(tmp_path, monkeypatch)["processor"].level == "note"
