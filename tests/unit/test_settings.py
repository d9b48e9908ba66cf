"""Settings: read from the environment, and the same in every process whatever folder it runs in."""

import pytest
from pydantic import ValidationError

from ironclad_assets.settings import Settings


def test_relative_folders_mean_the_callers_folder_for_every_process(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IRONCLAD_HOME", "home")
    monkeypatch.setenv("IRONCLAD_DATA", "./music")
    monkeypatch.setenv("IRONCLAD_DATABASE_URL", "sqlite:///jobs.db")
    here = Settings()
    for name, value in here.as_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir("/")
    there = Settings()
    assert there == here
    assert there.store_root == tmp_path / "music"
    assert there.ledger_url == f"sqlite:///{tmp_path / 'jobs.db'}"


def test_home_of_the_user_is_understood(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings().home_dir == tmp_path / ".ironclad"
    assert Settings(data="~/music").store_root == tmp_path / "music"


def test_other_databases_are_left_as_they_are():
    url = "postgresql+psycopg2://ironclad@db/ironclad"
    assert Settings(database_url=url).ledger_url == url


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_postgres_is_spoken_to_by_the_driver_that_is_installed(scheme):
    settings = Settings(database_url=f"{scheme}://ironclad@db/ironclad")
    assert settings.ledger_url == "postgresql+psycopg2://ironclad@db/ironclad"
    assert settings.on_postgres


def test_the_database_decides_about_the_instance_file_unless_one_is_set(tmp_path):
    own = tmp_path / "dagster.yaml"
    url = "postgresql://ironclad@db/ironclad"
    assert not Settings().on_postgres
    assert Settings().instance_yaml == Settings().dagster_yaml
    assert Settings(database_url=url).instance_yaml.parent.name == "postgres"
    assert Settings(database_url=url, dagster_yaml=own).instance_yaml == own


@pytest.mark.parametrize(("name", "value"), [("IRONCLAD_WEB_PORT", "99999"), ("IRONCLAD_SETTLE_S", "-1")])
def test_values_outside_their_range_are_refused(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        Settings()
