"""Local copies that may go, leftovers in the bucket, and moving a store into a bucket."""

import errno
import os
import time
from pathlib import Path

import pytest

from ironclad_assets.errors import StorageUnavailable
from ironclad_assets.settings import Settings
from ironclad_assets.storage import housekeeping
from ironclad_assets.storage.housekeeping import evict, publish_everything, remove_leftovers
from ironclad_assets.storage.opening import open_store
from tests.unit.storage.publishing import NEW, OLD, folder_of, persist, see
from tests.unit.storage.test_mirror import RELATIVE, SHA256, SONG, publish


@pytest.fixture
def kind():
    """Only stores in a bucket."""
    return "s3"


@pytest.fixture(autouse=True)
def _nothing_is_small(monkeypatch):
    monkeypatch.setattr(housekeeping, "SMALL_BYTES", 1)


@pytest.fixture
def full(store, tmp_path):
    """A store with one original, used last, and one artifact."""
    persist(store, OLD)
    publish(store, tmp_path)
    store.original(RELATIVE)
    os.utime(folder_of(store).path / ".published.json", (1.0, 1.0))
    return store


def copies(store):
    return [path for path in store.root.rglob("*") if path.is_file() and path.name in ("a.bin", "b.bin", SHA256)]


def evict_all(store, in_use=lambda name: False):
    return evict(store, limit_bytes=0, in_use=in_use)


def test_copies_go_and_come_back_when_they_are_read(full):
    done = evict_all(full)
    assert (done.copies, done.kept_bytes) == (2, 0)
    assert copies(full) == []
    assert folder_of(full).manifest.exists()
    assert see(full) == OLD
    assert full.original(RELATIVE).read_bytes() == SONG


def test_only_as_much_goes_as_must_and_what_was_used_last_stays(full):
    done = evict(full, limit_bytes=len(SONG), in_use=lambda name: False)
    assert done.copies == 1
    assert [path.name for path in copies(full)] == [SHA256]
    assert evict(full, limit_bytes=len(SONG), in_use=lambda name: False).copies == 0


@pytest.mark.parametrize("used", ["s1", SHA256])
def test_what_is_in_use_stays(full, used):
    """Promise 17: what is in use is never removed."""
    assert evict_all(full, in_use=lambda name: name == used).copies == 1
    assert copies(full)
    assert (SHA256 in [path.name for path in copies(full)]) is (used == SHA256)


@pytest.mark.parametrize("wrong", ["it may not be renamed", "it may not be looked into", "its use is not known"])
def test_a_copy_that_cannot_go_keeps_no_other(full, monkeypatch, wrong):
    """Promise 6: the artifact, which was used longest ago, comes first."""
    rename, read = Path.rename, Path.read_bytes

    def refuse(path, *rest):
        if folder_of(full).path in path.parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path) if not rest else rename(path, *rest)

    def in_use(name):
        if wrong == "its use is not known" and name == "s1":
            raise PermissionError(errno.EACCES, "Permission denied", name)
        return False

    if wrong != "its use is not known":
        monkeypatch.setattr(Path, "rename" if wrong == "it may not be renamed" else "read_bytes", refuse)
    assert evict_all(full, in_use=in_use).copies == 1
    assert sorted(path.name for path in copies(full)) == ["a.bin", "b.bin"]


def test_where_no_copy_can_be_removed_that_is_told(full, monkeypatch):
    def refuse(path):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(housekeeping, "_remove_at_once", refuse)
    with pytest.raises(StorageUnavailable, match="Read-only"):
        evict_all(full)


@pytest.mark.parametrize("loss", ["files", "manifest", "everything", "another file", "away"])
def test_no_copy_goes_that_the_bucket_does_not_have(full, s3, loss):
    """Promise 14: nothing is removed while the storage is away, or has lost it."""
    keys = [key for key in s3.keys("store") if not key.endswith(".store-id")]
    for key in keys:
        if loss == "everything" or (loss == "manifest") is key.endswith("manifest.json"):
            s3.remove(key)
            if loss == "another file":
                s3.replace(key, b"another")
    before = copies(full)
    if loss == "away":
        s3.away, full.mirror._present_until_s = True, 0.0
        with pytest.raises(StorageUnavailable):
            evict_all(full)
    else:
        evict_all(full)
    kept = [path for path in copies(full) if path.name != SHA256 or loss != "manifest"]
    assert kept == [path for path in before if path.name != SHA256 or loss != "manifest"]


def test_newer_work_that_is_not_published_stays(full, s3):
    there = folder_of(full)
    manifest = persist(full, NEW, attempt=2)
    s3.fault = lambda number, request: None
    (there.path / ".published.json").unlink()
    assert evict_all(full).copies == 1
    assert (there.path / manifest.folder / "a.bin").exists()


def test_malware_and_what_the_quarantine_holds_stay(full):
    full.original(RELATIVE).chmod(0o600)
    evict_all(full)
    assert full.original(RELATIVE).exists()
    full.original(RELATIVE).chmod(0o444)
    (full.quarantine("s1")).mkdir()
    os.link(full.original(RELATIVE), full.quarantine("s1") / "original")
    evict_all(full)
    assert full.original(RELATIVE).exists()


def test_store_that_lasts_in_its_root_loses_nothing(tmp_path):
    lone = open_store(Settings(home=tmp_path / "lone", disk_reserve_bytes=1))
    lone.create()
    persist(lone, OLD)
    assert evict_all(lone).copies == 0
    assert remove_leftovers(lone, now=time.time(), older_than_s=-1) == 0
    assert publish_everything(lone).artifacts == 0
    assert see(lone) == OLD


def test_leftovers_of_killed_publications_go_after_a_day_and_nothing_else_does(store, s3):
    persist(store, OLD)
    prefix = "store/stages/song_metadata/s1"
    s3.replace(f"{prefix}/{NEW[:16]}-00000000/a.bin", b"left over")
    s3.replace("store/stages/stems/s2/killed-00000000/a.bin", b"never finished")
    s3.replace("store/stages/stems/s3/manifest.json", b"{ damaged")
    s3.replace("store/stages/stems/s3/x/a.bin", b"x")
    s3.replace("store/stages/stems/s3/y/a.bin", b"x")
    before = s3.keys("store")
    assert remove_leftovers(store, now=time.time()) == 0
    assert s3.keys("store") == before
    assert remove_leftovers(store, now=time.time(), older_than_s=-60) == len(b"left over") + len(b"never finished")
    assert len(s3.keys("store")) == len(before) - 2
    assert see(store) == OLD


def test_store_moves_into_a_bucket_and_damage_does_not(make_store, tmp_path, s3):
    lone = open_store(Settings(home=tmp_path / "machine", disk_reserve_bytes=1))
    lone.create()
    persist(lone, OLD)
    for content, name in ((SONG, SHA256), (b"not what it says", "f" * 64)):
        (lone.archive / name[:2]).mkdir()
        (lone.archive / name[:2] / name).write_bytes(content)
    (lone.root / "sidecars/s1").mkdir(parents=True)
    (lone.root / "sidecars/s1/lyrics.lrc").write_text("la")
    store = make_store("machine")
    done = publish_everything(store)
    assert (done.originals, done.artifacts, done.files) == (1, 1, 1)
    assert done.refused == [f"archive/ff/{'f' * 64}"]
    asked = len(s3.requests)
    again = publish_everything(store)
    assert (again.originals, again.artifacts, again.files) == (0, 0, 0)
    assert len(s3.requests) - asked < 6
    there = make_store("there")
    assert see(there) == OLD
    assert there.original(RELATIVE).read_bytes() == SONG
