"""Finding engines by their manifests, and refusing manifests that are wrong."""

import shutil
import sys
from pathlib import Path

import pytest

from ironclad_assets.engine_host.registry import find_engine_problems, find_engines
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
    assert find_engine_problems(tmp_path) == ()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert find_engines(tmp_path / "nowhere") == {}
    (problem,) = find_engine_problems(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in problem.detail


def test_an_engine_that_knows_the_cpu_alone_computes_there_and_others_where_they_are_told(engines: Path) -> None:
    assert find_engines(engines)["template"].device_for("cuda:1") == "cpu"
    demucs = find_engines(ENGINES)["demucs"]
    assert demucs.device_for("cuda:1") == "cuda:1"
    with pytest.raises(IroncladError, match="computes on cpu, cuda, mps, not on tpu") as caught:
        demucs.device_for("tpu")
    assert caught.value.code is ErrorCode.DEVICE_UNAVAILABLE


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
        ('stems = ["mixture"]', 'stems = ["one", "one"]', "two of its stems have one name"),
        ('stems = ["mixture"]', 'stems = ["none"]', "no stem can be called 'none'"),
        ("channels = 2", 'channels = 2\nenvironment = "gpu"', "environment 'gpu' is not one of"),
        ("channels = 2", 'channels = 2\nsmaller = "tiny"', "smaller 'tiny' is not one of"),
        ("channels = 2", "channels = 2\n[presets.fast]\nspeed = 2", "'speed' is not one of its parameters"),
        ("channels = 2", 'channels = 2\n[presets.fast]\nmodel = "tiny"', "model 'tiny' is not one of"),
    ],
)
def test_an_engine_with_a_wrong_manifest_is_left_out_with_its_reason_and_stops_no_other(
    engines: Path, old: str, new: str, words: str
) -> None:
    shutil.copytree(ENGINES / "spectral", engines / "spectral")
    change(engines, old=old, new=new)
    assert list(find_engines(engines)) == ["spectral"]
    (problem,) = find_engine_problems(engines)
    assert words in problem.detail
    assert "copied/engine.toml" in problem.detail
    assert problem.code is ErrorCode.ENGINE_UNAVAILABLE


def test_of_two_engines_with_one_name_the_first_is_taken(engines: Path) -> None:
    shutil.copytree(engines / "copied", engines / "twin")
    assert find_engines(engines)["template"].folder == engines / "copied"
    (problem,) = find_engine_problems(engines)
    assert f"defined in {engines / 'copied'} and again in {engines / 'twin'}" in problem.detail


OWN = """
[[models]]
name = "second"
entry = "other.module:Second"
environment = "gpu"
stems = ["vocals"]
sample_rate_hz = 44100
channels = 2
[environments.gpu]
variables = { WHO = "second" }
"""


def put_python(environments: Path, name: str) -> Path:
    python = environments / name / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    return python


def test_each_model_runs_in_its_own_environment_with_its_entry_and_variables(engines: Path, tmp_path: Path) -> None:
    """ENG-001."""
    change(engines, old='environment = "core" ', new='environment = "own" ')
    path = engines / "copied" / "engine.toml"
    path.write_text(path.read_text(encoding="utf-8") + OWN, encoding="utf-8")
    with pytest.raises(IroncladError, match="none is configured"):
        find_engines(engines)["template"].python()
    engine = find_engines(engines, environments=tmp_path / "envs")["template"]
    for model in (None, "second"):
        with pytest.raises(IroncladError, match="pipelinectl engines install template") as caught:
            engine.python(model)
        assert caught.value.code is ErrorCode.ENGINE_UNAVAILABLE
    first, second = put_python(tmp_path / "envs", "template"), put_python(tmp_path / "envs", "template-gpu")
    assert (engine.python(), engine.python("identity"), engine.python("second")) == (first, first, second)
    assert engine.entry() == "ironclad_template.engine:TemplateEngine"
    assert engine.entry("second") == "other.module:Second"
    assert (engine.variables(), engine.variables("second")) == ({}, {"WHO": "second"})
    (tmp_path / "envs" / "template-gpu" / ".building").touch()
    with pytest.raises(IroncladError, match="was not built to its end"):
        engine.python("second")


@pytest.mark.parametrize("ask", ["python", "entry", "variables"])
def test_an_unknown_model_is_refused_with_the_list_of_what_there_is(engines: Path, ask: str) -> None:
    engine = find_engines(engines)["template"]
    with pytest.raises(IroncladError, match="no model 'huge', only identity") as caught:
        getattr(engine, ask)("huge")
    assert caught.value.code is ErrorCode.UNKNOWN_MODEL


def install_package(folder: Path, *, package: str, value: str) -> None:
    """Lay out an installed distribution that announces an engine."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[ironclad.engines]\n{package} = {value}\n", encoding="utf-8")


def test_an_installed_package_is_an_engine_and_is_not_imported_for_that(
    engines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SPLIT-003."""
    install_package(tmp_path / "site", package="packaged_engine", value="packaged_engine")
    shutil.copytree(engines / "copied", tmp_path / "site" / "packaged_engine")
    (tmp_path / "site" / "packaged_engine" / "__init__.py").write_text("raise RuntimeError", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    shutil.rmtree(engines / "copied")
    engine = find_engines(engines)["template"]
    assert engine.folder == tmp_path / "site" / "packaged_engine"
    assert engine.import_path() == (engines / "_harness", engine.folder)


@pytest.mark.parametrize(
    ("value", "said"), [("no_such_package_at_all", "has no engine.toml"), ("json", "has no engine.toml")]
)
def test_a_package_without_a_manifest_is_left_out(
    engines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, said: str
) -> None:
    install_package(tmp_path / "site", package="packaged_engine", value=value)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert list(find_engines(engines)) == ["template"]
    (problem,) = find_engine_problems(engines)
    assert said in problem.detail
