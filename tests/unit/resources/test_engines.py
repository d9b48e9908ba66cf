"""The engine catalogue of a run finds what the command line lists."""

import shutil
from pathlib import Path

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
