"""The engines' documents name every engine, and their example is a working engine."""

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from ironclad_assets.engine_host.registry import find_engines
from ironclad_harness.engine import EngineContext, Statistics, Window
from ironclad_harness.grid import check_pass

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", find_engines(ROOT / "engines"))
def test_every_engine_is_listed_with_its_stems(name: str) -> None:
    stems = ", ".join(find_engines(ROOT / "engines")[name].manifest.model(None).stems)
    assert re.search(rf"^\| `{name}` \|.*{stems}", TEXT, flags=re.MULTILINE)


def test_the_example_works_as_it_stands() -> None:
    source = re.search(r"```python\n(import numpy.*?)```", TEXT, flags=re.DOTALL)
    assert source is not None
    module = types.ModuleType("example")
    exec(compile(source.group(1), "engines.md", "exec"), module.__dict__)
    context = EngineContext(
        model="m",
        stems=("one", "two"),
        parameters={},
        sample_rate_hz=100,
        channels=2,
        frames=3000,
        statistics=Statistics(mean=0.0, std=1.0, peak=1.0, rms=1.0),
        device="cpu",
        threads=1,
        seed=0,
    )
    engine = module.HalfEngine(context)
    for plan in engine.passes():
        check_pass(plan, stems=context.stems)
    y = np.ones((2, 1000), np.float32)
    assert engine.separate(y, window=Window(pass_index=0, index=0, start=0, frames=1000, read_start=0)).shape == (
        2,
        2,
        1000,
    )


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
