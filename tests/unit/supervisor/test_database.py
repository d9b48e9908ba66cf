"""What `up` says before it starts anything where the database cannot be used."""

import pytest

from ironclad_assets.errors import ErrorCode, Refusal, StorageUnavailable
from ironclad_assets.settings import Settings
from ironclad_assets.supervisor import database
from ironclad_assets.supervisor.database import require_database
from ironclad_assets.supervisor.system import System


def test_a_file_needs_nothing(settings):
    require_database(settings)
    assert not (settings.home_dir / "ledger.db").exists()


def test_server_that_is_away_is_told_before_anything_starts(settings, tmp_path):
    away = settings.model_copy(update={"database_url": f"postgresql+psycopg2://ada:hunter2@/songs?host={tmp_path}"})
    with pytest.raises(StorageUnavailable, match="does not answer") as caught, System(away) as system:
        system.start(lambda _text: None)
    assert caught.value.code is ErrorCode.STORAGE_AWAY
    assert "ada:***@" in caught.value.detail
    assert "hunter2" not in caught.value.describe()
    assert not (settings.dagster_home / "dagster.yaml").exists()


def test_missing_packages_are_named_with_what_installs_them(settings, monkeypatch):
    monkeypatch.setattr(database, "PACKAGES", ("psycopg2", "no_such_package"))
    on_postgres = settings.model_copy(update={"database_url": "postgresql+psycopg2://db/songs"})
    with pytest.raises(Refusal, match=r"no_such_package is not installed; .*constraints/postgres\.txt") as caught:
        require_database(on_postgres)
    assert caught.value.code is ErrorCode.BAD_OPTION


def test_empty_database_of_a_server_will_do(postgres_url):
    require_database(Settings(database_url=postgres_url))
