"""`dagster.yaml` and `workspace.yaml` as shipped: they load, and Dagster reads back what they mean."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.workspace.load_target import WorkspaceFileTarget

from ironclad_assets.settings import Settings

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def instance(tmp_path, monkeypatch):
    (tmp_path / "dagster.yaml").write_bytes((ROOT / "dagster.yaml").read_bytes())
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.get() as instance:
        yield instance


def test_queue_limits_songs_in_all_and_per_user(instance):
    queue = instance.get_concurrency_config().run_queue_config
    assert queue.max_concurrent_runs == 2
    assert queue.tag_concurrency_limits == [
        {"key": "ironclad/user", "value": {"applyLimitPerUniqueValue": True}, "limit": 2},
        {"key": "ironclad/upkeep", "limit": 1},
    ]
    assert queue.max_user_code_failure_retries > 0, "a run waits for a code server that is being restarted"


def test_queue_is_read_every_second_and_pools_count_whole_runs(instance):
    assert instance.run_coordinator.dequeue_interval_seconds == 1
    pools = instance.get_concurrency_config().pool_config
    assert pools.pool_granularity.value == "run"
    assert pools.default_pool_limit >= 2, "the pool `separation` must not hold back what the queue lets through"


def test_monitoring_is_on_and_run_retries_are_off(instance):
    """The ledger alone decides what runs again."""
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_max_resume_run_attempts == 0
    assert not instance.run_retries_enabled


def test_skipped_ticks_are_kept_for_a_day(instance):
    assert instance.get_tick_retention_settings(InstigatorType.SENSOR)[TickStatus.SKIPPED] == 1


def test_nothing_is_told_to_anyone_and_no_dialog_asks(instance):
    assert instance.get_settings("telemetry") == {"enabled": False}
    assert instance.get_settings("nux") == {"enabled": False}


def test_storage_lies_in_the_home(instance, tmp_path):
    assert (tmp_path / "history").is_dir()


def test_sensors_run_in_threads_so_that_a_long_poll_holds_nobody_up(instance):
    assert instance.get_settings("sensors")["use_threads"] is True


def test_workspace_names_the_code_server_by_the_port_of_the_environment(monkeypatch):
    monkeypatch.setenv("IRONCLAD_CODE_PORT", "4321")
    (origin,) = WorkspaceFileTarget([str(ROOT / "workspace.yaml")]).create_origins()
    assert (origin.host, origin.port, origin.location_name) == ("127.0.0.1", 4321, "ironclad")


def test_settings_default_to_these_files_and_the_homes_of_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("IRONCLAD_HOME", str(tmp_path))
    settings = Settings()
    assert settings.dagster_yaml == ROOT / "dagster.yaml"
    assert settings.workspace_yaml == ROOT / "workspace.yaml"
    assert settings.dagster_home == tmp_path / "dagster"
    assert settings.store_root == tmp_path / "pipeline-data"


def test_instance_on_postgres_differs_in_its_storage_alone():
    sqlite, postgres = (
        yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
        for name in ("dagster.yaml", "deploy/postgres/dagster.yaml")
    )
    storage = postgres.pop("storage")["custom"]
    sqlite.pop("storage")
    assert postgres == sqlite
    assert (storage["class"], storage["config"]) == (
        "PooledPostgresStorage",
        {"postgres_url": {"env": "IRONCLAD_DATABASE_URL"}},
    )


def test_instance_on_postgres_is_read_by_dagster_as_it_is_meant(tmp_path, monkeypatch, postgres_url):
    (tmp_path / "dagster.yaml").write_bytes(Settings(database_url=postgres_url).instance_yaml.read_bytes())
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("IRONCLAD_DATABASE_URL", postgres_url)
    with dg.DagsterInstance.get() as instance:
        assert type(instance.run_storage).__name__ == "PooledRunStorage"
        assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 2
        assert not instance.run_retries_enabled


def test_preparing_makes_all_tables_so_that_later_processes_do_not_race(tmp_path):
    home = tmp_path / "home"
    (home / "dagster").mkdir(parents=True)
    (home / "dagster" / "dagster.yaml").write_bytes((ROOT / "dagster.yaml").read_bytes())
    environment = {**os.environ, "IRONCLAD_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")}
    command = [sys.executable, "-m", "ironclad_assets.sensors.prepare"]
    for _ in range(2):  # safe to run again
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
    for database in ("history/runs.db", "history/runs/index.db", "schedules/schedules.db"):
        assert (home / "dagster" / database).is_file()
    assert (home / "ledger.db").is_file()
    assert (home / "pipeline-data" / ".store-id").is_file()
