"""The engine catalogue of a run finds what the command line lists."""

import shutil
from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.engine_host.registry import find_engines
from ironclad_assets.errors import Refusal
from ironclad_assets.intake.choice import system_defaults
from ironclad_assets.intake.options import check_options
from ironclad_assets.resources.engines import Engines
from ironclad_assets.settings import Settings


def test_engine_with_an_environment_of_its_own_is_run_by_that(tmp_path):
    spectral = Path(__file__).parents[3] / "engines" / "spectral"
    shutil.copytree(spectral, tmp_path / "engines" / "spectral")
    manifest = tmp_path / "engines" / "spectral" / "engine.toml"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace('"core"', '"own"'), encoding="utf-8")
    python = tmp_path / "home" / "engines" / "spectral" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    engines = Engines(Settings(home=tmp_path / "home", engines_path=tmp_path / "engines"))
    assert engines.find("spectral").python() == python


def test_choice_is_the_jobs_engine_else_the_default(settings):
    """SPLIT-005."""
    engines = Engines(settings)
    choice = engines.choose(JobOptions())
    assert (choice.engine.engine, choice.engine.model) == ("spectral", choice.model.name)
    assert engines.choose(JobOptions(engine="spectral", model=choice.model.name)).engine == choice.engine


@pytest.mark.parametrize("wish", [{"engine": "nine"}, {"model": "nine"}, {"targets": ("nine",)}])
def test_a_run_refuses_in_the_same_words_as_the_doors(settings, wish):
    engines = Engines(settings)
    options = JobOptions(**wish)
    with pytest.raises(Refusal) as in_run:
        engines.choose(options)
    manifests = {name: engine.manifest for name, engine in find_engines(settings.engines_path).items()}
    with pytest.raises(Refusal) as at_door:
        check_options(options, manifests, system=system_defaults(settings))
    assert (in_run.value.code, in_run.value.detail) == (at_door.value.code, at_door.value.detail)
