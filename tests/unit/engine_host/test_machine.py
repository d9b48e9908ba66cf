"""What the machine is, and which Python fits."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from ironclad_assets.engine_host import machine as machine_module
from ironclad_assets.engine_host.interpreters import (
    Interpreter,
    choose_interpreter,
    find_interpreters,
    suggest_minor,
)  # fmt: skip
from ironclad_assets.engine_host.machine import Gpu, find_gpus, free_bytes, read_machine
from ironclad_assets.errors import ErrorCode, IroncladError

X86 = "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx avx2\n\nprocessor\t: 1\nmodel name\t: Other\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd\n"


def there(*versions: str) -> tuple[Interpreter, ...]:
    return tuple(Interpreter(Path(f"/usr/bin/python{version}"), Version(version)) for version in versions)


@pytest.mark.parametrize(
    ("text", "model", "features"),
    [(X86, "Some CPU", {"fpu", "avx", "avx2"}), (ARM, "unknown", {"fp", "asimd"}), ("", "unknown", None)],
)
def test_the_processor_is_read_from_the_kernel(
    tmp_path: Path, text: str, model: str, features: set[str] | None
) -> None:
    (tmp_path / "cpuinfo").write_text(text, encoding="utf-8")
    found = read_machine(cpuinfo=tmp_path / "cpuinfo")
    assert found.cpu_model == model
    assert found.cpu_features == features
    assert found.cores >= 1
    assert found.memory_bytes > 0


def test_a_system_without_cpuinfo_says_nothing_of_features(tmp_path: Path) -> None:
    assert read_machine(cpuinfo=tmp_path / "none").cpu_features is None


def fake_driver(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    driver = folder / "nvidia-smi"
    driver.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_gpus_are_those_that_the_driver_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_driver(tmp_path, monkeypatch, "echo 'NVIDIA A10, 23028, 550.54'; echo 'NVIDIA A11, 1024, 550.54'")
    gpus, problem = find_gpus()
    assert gpus == (Gpu("NVIDIA A10", 23028, "550.54"), Gpu("NVIDIA A11", 1024, "550.54"))
    assert problem == ""


@pytest.mark.parametrize(
    ("script", "said"),
    [("echo 'cannot talk to the driver'; exit 9", "cannot talk to the driver"), ("true", "shows no GPU")],
)
def test_a_driver_that_shows_nothing_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    fake_driver(tmp_path, monkeypatch, script)
    gpus, problem = find_gpus()
    assert gpus == ()
    assert said in problem


def test_a_machine_without_a_driver_has_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_gpus() == ((), "no NVIDIA driver (nvidia-smi is not there)")


def test_a_driver_that_hangs_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*arguments: Any, **options: Any) -> None:
        raise subprocess.TimeoutExpired("nvidia-smi", 20)

    monkeypatch.setattr(machine_module.subprocess, "run", hang)
    assert "timed out" in find_gpus()[1]


def test_free_space_is_told_of_folders_that_are_not_there_yet(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "yet") > 0


def test_the_running_interpreter_comes_first() -> None:
    first, *_ = find_interpreters({"PATH": "/nowhere", "PYENV_ROOT": "/nowhere"})
    assert first.version == Version(".".join(map(str, sys.version_info[:3])))


def test_interpreters_on_the_path_and_of_pyenv_are_found_and_broken_ones_passed_over(tmp_path: Path) -> None:
    for name, script in (
        ("python3.12", f'echo \'["3.12.4", "{tmp_path}/python3.12"]\''),
        ("python3.13", "echo no module named ensurepip; exit 1"),
        ("python3.10", "echo gibberish"),
        ("pyenv/versions/3.9.1/bin/python3", f'echo \'["3.9.1", "{tmp_path}/pyenv/3.9"]\''),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
    found = find_interpreters({"PATH": f"{tmp_path}:/bin", "PYENV_ROOT": str(tmp_path / "pyenv")})
    versions = [str(one.version) for one in found]
    assert "3.12.4" in versions
    assert "3.9.1" in versions
    assert not {"3.13", "3.10"} & {version.rpartition(".")[0] for version in versions[1:]} - {"3.11"}


def test_the_first_that_fits_is_chosen() -> None:
    chosen = choose_interpreter(">=3.8,<3.12", interpreters=there("3.13.1", "3.11.4", "3.9.0"), who="spleeter")
    assert str(chosen.version) == "3.11.4"


def test_where_none_fits_it_is_said_what_there_is_and_how_to_get_one() -> None:
    with pytest.raises(IroncladError) as caught:
        choose_interpreter(">=3.8,<3.12", interpreters=there("3.13.1"), who="spleeter")
    assert caught.value.code is ErrorCode.INSTALL_FAILED
    for said in ("spleeter", ">=3.8,<3.12", "3.13.1", "python3.11-venv", "pyenv install 3.11"):
        assert said in caught.value.detail


def test_a_range_that_is_none_is_the_manifests_fault() -> None:
    with pytest.raises(IroncladError) as caught:
        choose_interpreter("about 3", interpreters=there("3.11.4"), who="x")
    assert caught.value.code is ErrorCode.ENGINE_UNAVAILABLE


@pytest.mark.parametrize(
    ("allowed", "minor"), [(">=3.11", "3.13"), (">=3.8,<3.12", "3.11"), (">=3.15", "3.15"), ("<3.0", "3")]
)
def test_a_version_to_install_is_suggested(allowed: str, minor: str) -> None:
    assert suggest_minor(SpecifierSet(allowed)) == minor
