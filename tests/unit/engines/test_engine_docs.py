"""The engines' documents name every engine, and their example is a working engine."""

import dataclasses
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from ironclad_assets.engine_host.registry import find_engines, read_manifest
from ironclad_conformance import signals, worker
from ironclad_conformance.setting import EngineUnderTest
from ironclad_conformance.suite import EngineConformance
from ironclad_harness.engine import EngineContext, Pass

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", find_engines(ROOT / "engines"))
def test_every_engine_is_listed_with_its_stems(name: str) -> None:
    stems = ", ".join(find_engines(ROOT / "engines")[name].manifest.model(None).stems)
    assert re.search(rf"^\| `{name}` \|.*{stems}", TEXT, flags=re.MULTILINE)


def block(language: str, *, start: str) -> str:
    """Return the document's block of code that begins with `start`."""
    found = re.search(rf"```{language}\n({start}.*?)```", TEXT, flags=re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """Write the example's three files as the document says."""
    folder = tmp_path / "sides"
    files = {
        "engine.toml": block("toml", start='name = "sides"'),
        "ironclad_sides/__init__.py": "",
        "ironclad_sides/engine.py": block("python", start="import numpy"),
        "tests/test_sides_conformance.py": block("python", start="from pathlib"),
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def test_the_manifest_of_the_example_is_valid(example: Path) -> None:
    manifest = read_manifest(example / "engine.toml")
    assert f"`{manifest.entry.replace('.', '/').replace(':SidesEngine', '.py')}`" in TEXT


def test_the_example_works_as_it_stands(example: Path, tmp_path: Path) -> None:
    """SPLIT-003."""
    audio = signals.band(12 * 44_100, channels=2, rate=44_100)
    work = worker.prepare(example, folder=tmp_path / "work", audio=audio)
    assert worker.run(work).status == 0, work.log()
    assert np.allclose(work.stem("centre"), audio.mean(axis=1, keepdims=True), atol=1e-6)
    assert np.allclose(work.stem("centre") + work.stem("sides"), audio, atol=1e-6)


def test_the_test_file_of_the_example_is_the_conformance_suite(example: Path) -> None:
    path = example / "tests" / "test_sides_conformance.py"
    module = types.ModuleType("test_sides_conformance")
    module.__file__ = str(path)
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)
    suite = module.TestSidesConforms
    assert issubclass(suite, EngineConformance)
    assert suite.folder == example
    assert suite.interpreter() == sys.executable


def test_the_document_names_all_that_a_conformance_test_may_set() -> None:
    own = {name for name in EngineUnderTest.__annotations__ if not name.startswith("_")}
    for name in own | {"make_model_files"}:
        assert re.search(rf"^\|.*`{name}[`(]", TEXT, flags=re.MULTILINE), name


def test_the_document_explains_the_whole_context() -> None:
    explained = set(re.findall(r"`([a-z_]+)`", TEXT))
    assert {field.name for field in dataclasses.fields(EngineContext)} <= explained | {
        "sample_rate_hz",
        "channels",
        "frames",
    }
    assert {field.name for field in dataclasses.fields(Pass)} <= explained


def test_the_harness_needs_the_standard_library_and_numpy_only() -> None:
    allowed = {*sys.stdlib_module_names, "numpy", "ironclad_harness"}
    for path in (ROOT / "engines" / "_harness").rglob("*.py"):
        found = set(re.findall(r"^\s*(?:from|import) ([a-z_]+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE))
        assert found <= allowed, f"{path.name} imports {found - allowed}"


def test_the_built_in_engine_needs_no_more_than_the_harness() -> None:
    """ENG-004."""
    allowed = {*sys.stdlib_module_names, "numpy", "ironclad_harness", "ironclad_spectral"}
    for path in (ROOT / "engines" / "spectral" / "ironclad_spectral").rglob("*.py"):
        found = set(re.findall(r"^(?:from|import) ([a-z_]+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE))
        assert found <= allowed, f"{path.name} imports {found - allowed}"
