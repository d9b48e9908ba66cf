"""The store: its sentinel, its health, and the folders of stages."""

import pytest

from ironclad_assets.errors import ErrorCode, StorageUnavailable
from ironclad_assets.storage.store import Store


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


def test_a_store_whose_making_was_interrupted_is_made_to_its_end(tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    (root / ".0123.part").write_bytes(b"half a sentinel")
    Store(root, reserve_bytes=0).create()
    Store(root, reserve_bytes=0).require_ready()
    (root / "archive").rmdir()
    Store(root, reserve_bytes=0).create()
    assert (root / "archive").is_dir()


def test_space_below_the_reserve_means_storage_full(make_store):
    store = make_store(reserve_bytes=10**18)
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


def fill(store, *paths):
    for path in paths:
        (store.root / path).parent.mkdir(parents=True, exist_ok=True)
        (store.root / path).write_bytes(b"12345")
        store.publish(path)


def test_what_is_discarded_is_gone_everywhere_and_nothing_else(store):
    fill(store, "stages/stems/s1/manifest.json", "stages/stems/s1/aa/v.f32", "stages/stems/s10/aa/v.f32", "error/s1/e")
    assert store.discard("stages/stems/s1") == 10
    assert store.discard("stages/stems/s1") == 0
    assert [found.path for found in store.lasting("stages")] == ["stages/stems/s10/aa/v.f32"]
    assert not (store.root / "stages/stems/s1").exists()
    assert store.discard("error/s1/e") == 5
    assert list(store.lasting("error")) == []


def test_what_lasts_is_listed_with_its_size(store):
    fill(store, "error/s1/e", "error/s2/e")
    assert [(found.path, found.size_bytes) for found in store.lasting("error")] == [
        ("error/s1/e", 5),
        ("error/s2/e", 5),
    ]
    assert list(store.lasting("sidecars")) == []


@pytest.mark.parametrize("path", ["", ".", "archive", "/etc/passwd", "../x/y", "stages/../../x", "archive/.."])
def test_nobody_discards_a_whole_store_or_what_is_not_in_it(store, path):
    with pytest.raises(ValueError, match="not the path"):
        store.discard(path)


def test_nothing_is_discarded_or_listed_while_storage_is_away(store):
    """Promise 14: storage that is absent loses nothing."""
    fill(store, "error/s1/e")
    store.sentinel.unlink()
    with pytest.raises(StorageUnavailable):
        store.discard("error/s1")
    with pytest.raises(StorageUnavailable):
        list(store.lasting("error"))
    assert (store.root / "error/s1/e").exists()


def test_a_link_is_discarded_not_what_it_names(store):
    fill(store, "error/s1/e")
    (store.root / "logs" / "link").symlink_to(store.root / "error" / "s1")
    store.discard("logs/link")
    assert (store.root / "error/s1/e").exists()


def test_originals_are_where_they_belong(store):
    assert store.original("archive/ab/abcd") == store.root / "archive/ab/abcd"
    assert not store.original("archive/ab/abcd").exists()
