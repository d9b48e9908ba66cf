"""Finding engines by their manifests, and refusing manifests that are wrong."""

import shutil
import sys
from pathlib import Path

import pytest

from ironclad_assets.engine_host.registry import find_engines
from ironclad_assets.errors import ErrorCode, IroncladError
from tests.unit.engine_host.rogues import ENGINES


@pytest.fixture
def engines(tmp_path: Path) -> Path:
    """A folder with a copy of the template as the engine ``template``."""
    shutil.copytree(ENGINES / "_template", tmp_path / "engines" / "copied")
    return tmp_path / "engines"


def change(engines: Path, *, old: str, new: str) -> None:
    path = engines / "copied" / "engine.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_the_built_in_engine_is_found_and_needs_nothing() -> None:
    """ENG-004: no weights, no environment of its own."""
    found = find_engines(ENGINES)
    assert found["spectral"].manifest.environment == "core"
    assert found["spectral"].python() == Path(sys.executable)


def test_private_folders_are_found_only_on_request() -> None:
    assert "template" not in find_engines(ENGINES)
    assert "template" in find_engines(ENGINES, include_private=True)


def test_a_folder_without_engines_has_none(tmp_path: Path) -> None:
    assert find_engines(tmp_path) == {}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("protocol = 1", "protocol = 2", "protocol"),
        ('version = "1.0.0"', "", "version"),
        ('licence = "MIT"', 'licence = "MIT"\nsurprise = 1', "surprise"),
        ('entry = "ironclad_template.engine:TemplateEngine"', 'entry = "../evil.py"', "entry"),
        ('default_model = "identity"', 'default_model = "other"', "other"),
        ("[[models]]", "[[models", "valid"),
        ("channels = 2", "channels = 6", "channels"),
    ],
)
def test_a_wrong_manifest_is_refused_with_its_reason(engines: Path, old: str, new: str, words: str) -> None:
    change(engines, old=old, new=new)
    with pytest.raises(IroncladError, match=words) as caught:
        find_engines(engines)
    assert caught.value.code is ErrorCode.ENGINE_UNAVAILABLE


def test_a_name_used_twice_is_refused(engines: Path) -> None:
    shutil.copytree(engines / "copied", engines / "twin")
    with pytest.raises(IroncladError, match="defined in"):
        find_engines(engines)


def test_an_engine_of_its_own_environment_runs_with_its_interpreter(engines: Path, tmp_path: Path) -> None:
    """ENG-001."""
    change(engines, old='environment = "core" ', new='environment = "own" ')
    with pytest.raises(IroncladError, match="none is configured"):
        find_engines(engines)["template"].python()
    engine = find_engines(engines, environments=tmp_path / "envs")["template"]
    with pytest.raises(IroncladError, match="no environment yet") as caught:
        engine.python()
    assert caught.value.code is ErrorCode.ENGINE_UNAVAILABLE
    python = tmp_path / "envs" / "template" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert engine.python() == python
