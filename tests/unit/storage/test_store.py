"""The store: its sentinel, its health, and the folders of stages."""

import pytest

from ironclad_assets.errors import ErrorCode, StorageUnavailable
from ironclad_assets.storage.store import Store


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "data", reserve_bytes=0)
    store.create()
    return store


def test_new_store_is_ready_and_has_its_folders(store):
    store.require_ready()
    assert store.input.is_dir()
    assert store.library("output-stems").is_dir()


def test_missing_sentinel_means_storage_away_and_is_not_papered_over(store):
    store.sentinel.unlink()
    store.create()
    with pytest.raises(StorageUnavailable) as caught:
        store.require_ready()
    assert caught.value.code is ErrorCode.STORAGE_AWAY


def test_empty_mount_point_of_an_existing_store_is_not_taken_for_it(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "strangers-file").write_text("x")
    store = Store(tmp_path / "data", reserve_bytes=0)
    store.create()
    assert [entry.name for entry in store.root.iterdir()] == ["strangers-file"]


def test_space_below_the_reserve_means_storage_full(tmp_path):
    store = Store(tmp_path / "data", reserve_bytes=10**18)
    store.create()
    with pytest.raises(StorageUnavailable, match="below the reserve") as caught:
        store.require_ready()
    assert caught.value.code is ErrorCode.STORAGE_FULL


def test_stage_files_are_hidden_until_committed(store):
    folder = store.stage("stems", "s1")
    key = "ab" * 32
    work = folder.work(key)
    (work / "vocals.f32").write_bytes(b"1234")
    assert work.name.startswith(".")
    final = folder.commit(key)
    assert (final / "vocals.f32").read_bytes() == b"1234"
    assert not work.exists()


def test_work_folder_of_an_interrupted_attempt_is_continued(store):
    folder = store.stage("stems", "s1")
    (folder.work("cd" * 32) / "checkpoint.json").write_text("{}")
    assert (folder.work("cd" * 32) / "checkpoint.json").exists()


def test_committing_twice_changes_nothing(store):
    folder = store.stage("stems", "s1")
    key = "ab" * 32
    (folder.work(key) / "vocals.f32").write_bytes(b"1234")
    assert folder.commit(key) == folder.commit(key)
    assert (folder.files(key) / "vocals.f32").read_bytes() == b"1234"


def test_committed_files_without_a_manifest_are_taken_up_again(store):
    folder = store.stage("stems", "s1")
    key = "ab" * 32
    (folder.work(key) / "vocals.f32").write_bytes(b"1234")
    folder.commit(key)
    assert (folder.work(key) / "vocals.f32").read_bytes() == b"1234"


def test_other_keys_are_dropped_only_when_asked(store):
    folder = store.stage("stems", "s1")
    for key in ("aa" * 32, "bb" * 32):
        folder.work(key)
        folder.commit(key)
    folder.discard_others("bb" * 8)
    assert not folder.files("aa" * 32).exists()
    assert folder.files("bb" * 32).exists()
