"""The graph as declared: names, rooms, owners, versions and checks of every stage."""

import dagster as dg
import pytest

from ironclad_assets.contracts.v1.job import STAGES
from ironclad_assets.definitions import ASSETS, build_definitions
from ironclad_assets.io_managers.contract_io_manager import CONTRACTS


@pytest.fixture(scope="module")
def specs():
    return {spec.key.to_user_string(): spec for asset in ASSETS for spec in asset.specs}


def test_graph_has_the_six_stages_the_analysis_beside_them_and_a_contract_for_each(specs):
    assert tuple(specs) == (*STAGES, "song_analysis") == tuple(CONTRACTS)


@pytest.mark.parametrize("stage", CONTRACTS)
def test_stage_is_partitioned_by_song_and_says_what_it_is(specs, stage):
    spec = specs[stage]
    assert spec.partitions_def.name == "songs"
    assert spec.description
    assert spec.code_version
    assert list(spec.owners) == ["team:ironclad"]
    assert spec.kinds
    assert spec.group_name != "default"


@pytest.mark.parametrize("asset", ASSETS, ids=CONTRACTS)
def test_checks_are_stored_per_song_and_described(asset):
    checks = list(asset.check_specs)
    assert any(check.name == "contract_valid" for check in checks)
    for check in checks:
        assert check.partitions_def is not None
        assert check.description


def test_definitions_load_with_job_and_sensors(settings):
    definitions = build_definitions(settings)
    dg.Definitions.validate_loadable(definitions)
    assert definitions.resolve_job_def("process_song").executor_def is dg.in_process_executor
    assert {sensor.name for sensor in definitions.sensors} == {
        "upload_watcher", "crash_catcher", "song_analyst", "eraser",
    }  # fmt: skip
    assert all(sensor.default_status is dg.DefaultSensorStatus.RUNNING for sensor in definitions.sensors)
