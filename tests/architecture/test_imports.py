"""Who may import whom: what import-linter's contracts in pyproject.toml say, and what they cannot say."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MEDIA = ("av", "librosa", "mutagen", "numba", "numpy", "PIL", "scipy", "soundfile", "soxr")
CORE = sorted((ROOT / "ironclad_assets").rglob("*.py"))
ENGINES = sorted((ROOT / "engines").rglob("*.py"))


def _imported(path: Path) -> set[str]:
    """Return the top-level names of everything that the module at `path` imports, wherever it does so."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


def _loaded_by(module: str) -> set[str]:
    """Return the top-level modules in memory after a fresh interpreter imported `module`, with all its commands."""
    load = f"import sys, {module}; getattr({module}, 'build_app', lambda: None)()"
    program = f"{load}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_import_contracts_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [linter, "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout


def test_every_module_has_a_place_in_the_layers() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layered = {
        name.strip(" ()")
        for contract in contracts
        if contract["type"] == "layers"
        for layer in contract["layers"]
        for name in layer.replace(":", "|").split("|")
    }
    present = {
        path.stem
        for path in (ROOT / "ironclad_assets").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert present - {"__init__"} == layered


@pytest.mark.parametrize("module", ["ironclad_assets.definitions", "ironclad_assets.cli.main"])
def test_media_libraries_are_not_loaded_in_the_parent(module: str) -> None:
    """Each run and each command would pay for the import, and untrusted bytes would come too close."""
    assert _loaded_by(module) & set(MEDIA) == set()


def test_media_children_start_without_what_only_parents_need() -> None:
    """Every song starts half a dozen of them."""
    tasks = ("probe", "tags", "staging", "measure", "recombine", "fetched_cover")
    program = "import sys; " + "".join(f"import ironclad_assets.audio.{task}; " for task in tasks)
    program += "print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & {"dagster", "pydantic", "sqlalchemy"} == set()


@pytest.mark.parametrize("module", ["ironclad_assets.cli.main", "ironclad_assets.supervisor.demo"])
def test_faces_never_reach_dagster(module: str) -> None:
    assert [name for name in _loaded_by(module) if name.startswith("dagster")] == []


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_imports_no_engine(path: Path) -> None:
    assert not {name for name in _imported(path) if name.startswith("ironclad_")} - {"ironclad_assets"}


@pytest.mark.parametrize("path", ENGINES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_engine_imports_the_core(path: Path) -> None:
    assert "ironclad_assets" not in _imported(path)


def test_the_harness_stands_on_the_standard_library_and_numpy() -> None:
    harness = [path for path in ENGINES if path.is_relative_to(ROOT / "engines" / "_harness" / "ironclad_harness")]
    assert harness
    allowed = set(sys.stdlib_module_names) | {"numpy", "ironclad_harness"}
    assert {name for path in harness for name in _imported(path)} <= allowed
