"""What is prepared before anything runs: the store is made once, and never where a mount is away."""

import pytest

from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.errors import ErrorCode, StorageUnavailable
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.sensors.prepare import TABLES_OF, delete_again, migrate_dagster, prepare_store
from ironclad_assets.storage.opening import open_store
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.erase import tombstones
from ironclad_assets.upkeep.upgrades import export_ledger, import_ledger


def test_new_root_becomes_a_store(settings):
    assert prepare_store(settings) == ""
    Store(settings.store_root, 0).require_ready()


def test_empty_mount_point_of_a_known_store_stays_empty(settings):
    """Storage that is away is waited for, not made anew beside it."""
    prepare_store(settings)
    settings.store_root.rename(settings.home_dir / "unmounted")
    settings.store_root.mkdir()
    assert "storage_away" in prepare_store(settings)
    assert list(settings.store_root.iterdir()) == []
    settings.store_root.rmdir()
    (settings.home_dir / "unmounted").rename(settings.store_root)
    assert prepare_store(settings) == ""


def test_full_store_is_told_and_stops_nothing(settings):
    prepare_store(settings)
    full = settings.model_copy(update={"disk_reserve_bytes": 10**18})
    assert "storage_full" in prepare_store(full)


def test_store_moved_to_a_new_root_is_made_there(settings, tmp_path):
    prepare_store(settings)
    moved = settings.model_copy(update={"data": tmp_path / "elsewhere"})
    moved.__dict__.pop("store_root", None)
    assert prepare_store(moved) == ""
    assert (tmp_path / "elsewhere" / ".store-id").is_file()


def test_foreign_folder_is_not_taken_for_a_store(settings):
    settings.store_root.mkdir(parents=True)
    (settings.store_root / "photo.jpg").write_bytes(b"x")
    assert "storage_away" in prepare_store(settings)
    with pytest.raises(StorageUnavailable) as caught:
        Store(settings.store_root, 0).require_ready()
    assert caught.value.code is ErrorCode.STORAGE_AWAY


def test_what_an_older_ledger_brings_back_is_deleted_again_at_the_start(settings, ledger, add_song, tmp_path):
    """GLOBAL-004: a copy of the ledger, imported or put back by hand, is older than the deletions after it."""
    prepare_store(settings)
    job, kept = add_song(1, user_id="ada"), add_song(2)
    copy = tmp_path / "ledger.jsonl"
    export_ledger(ledger, copy)
    deletion = ledger.deletions.request_user("ada", actor="operator")
    assert delete_again(ledger, settings) == "", "the ledger knows of it"
    tombstones.publish(open_store(settings), ledger)
    older = Ledger(f"sqlite:///{tmp_path / 'older.db'}")
    import_ledger(older, copy)
    assert older.job(job.job_uuid).state is JobState.QUEUED
    assert "2 songs and users" in delete_again(older, settings)
    assert [one.receipt for one in older.deletions.open()] == [deletion.receipt]
    assert older.job(job.job_uuid).state is JobState.CANCELED
    assert older.job(kept.job_uuid).state is JobState.QUEUED
    assert delete_again(older, settings) == ""
    older.close()


class CountingInstance:
    upgrades = 0

    def upgrade(self):
        self.upgrades += 1


def test_dagster_tables_are_migrated_once_per_release(settings):
    settings.dagster_home.mkdir(parents=True)
    instance = CountingInstance()
    migrate_dagster(instance, settings)
    migrate_dagster(instance, settings)
    assert instance.upgrades == 1
    (settings.dagster_home / TABLES_OF).write_text("0.0.1")
    migrate_dagster(instance, settings)
    assert instance.upgrades == 2
