"""The engine catalogue of a run finds what the command line lists."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.engine_host.registry import device_kind, find_engines
from ironclad_assets.errors import ErrorCode, IroncladError, Refusal
from ironclad_assets.intake.choice import system_defaults
from ironclad_assets.intake.options import check_options
from ironclad_assets.resources.engines import GPU_BATCH, Engines
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


OWN = """
name = "{name}"
version = "1"
kind = "separation"
protocol = 1
description = ""
licence = "MIT"
entry = "m:C"
environment = "{environment}"
default_model = "one"
devices = {devices}
[[models]]
name = "one"
stems = ["vocals"]
sample_rate_hz = 44100
channels = 2
"""


def install(tmp_path: Path, *, environment: str = "core", devices: str = '["cpu", "cuda"]', **settings: Any) -> Engines:
    """Return a catalogue of one engine called `own`."""
    folder = tmp_path / "engines" / "own"
    folder.mkdir(parents=True)
    manifest = OWN.format(name="own", environment=environment, devices=devices)
    (folder / "engine.toml").write_text(manifest, encoding="utf-8")
    return Engines(
        Settings(home=tmp_path / "home", engines_path=tmp_path / "engines", default_engine="own", **settings)
    )


def test_an_engine_without_its_environment_is_not_ready_but_may_be_in_a_clusters_image(tmp_path):
    engines = install(tmp_path, environment="own")
    choice = engines.choose(JobOptions()).engine
    with pytest.raises(IroncladError, match="pipelinectl engines install own") as caught:
        engines.require_ready(choice)
    assert caught.value.code is ErrorCode.ENGINE_UNAVAILABLE
    elsewhere = Engines(engines.settings.model_copy(update={"executor": "kubernetes"}))
    elsewhere.require_ready(choice)


@pytest.mark.parametrize(
    ("devices", "wanted", "device", "batch"),
    [
        ('["cpu", "cuda"]', "cpu", "cpu", 1),
        ('["cpu", "cuda"]', "cuda:1", "cuda:1", GPU_BATCH),
        ('["cpu"]', "cuda", "cpu", 1),
    ],
)
def test_an_engine_computes_on_the_device_that_is_set_unless_it_knows_the_cpu_alone(
    tmp_path, devices, wanted, device, batch
):
    engines = install(tmp_path, devices=devices, engine_device=wanted, engine_threads=3)
    conditions = engines.conditions(engines.choose(JobOptions()).engine)
    assert (conditions.device, conditions.batch, conditions.threads) == (device, batch, 3)


def test_a_device_that_the_engine_does_not_know_is_an_error_and_never_another(tmp_path):
    engines = install(tmp_path, devices='["cpu", "mps"]', engine_device="cuda")
    with pytest.raises(IroncladError, match="own computes on cpu, mps, not on cuda") as caught:
        engines.require_ready(engines.choose(JobOptions()).engine)
    assert caught.value.code is ErrorCode.DEVICE_UNAVAILABLE


def test_which_of_several_gpus_it_is_changes_nothing():
    assert device_kind("cuda:1") == device_kind("cuda") != device_kind("cpu")
