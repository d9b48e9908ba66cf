"""Whose file a file is: marks, claims, and the lock on an entry."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.base import FileRecord
from ironclad_assets.pipeline.ownership import hold_entry, load_claims, marked_by_us
from ironclad_assets.storage.hashing import record_file
from ironclad_assets.storage.store import Store


@pytest.fixture
def file(store: Store) -> Path:
    path = store.library("output") / "song.flac"
    path.write_bytes(b"audio")
    return path


def mark(path: Path, value: bytes) -> None:
    os.setxattr(path, "user.ironclad.song", value)


@pytest.mark.parametrize("value", [b"../../etc", b"", b"\xff\xfe", b"song-b", b"a" * 65, b"song-a/"])
def test_only_a_mark_of_a_song_that_this_store_knows_is_ours(store: Store, file: Path, value: bytes) -> None:
    store.stage("library_entry", "song-a").path.mkdir(parents=True)
    mark(file, value)
    assert not marked_by_us(file, store=store)
    mark(file, b"song-a")
    assert marked_by_us(file, store=store)


def test_a_mark_decides_before_any_record(store: Store, file: Path) -> None:
    record = record_file(file, base=file.parent)
    claims = load_claims(store, song="song-a", previous=None)
    assert claims.owns(file, key="output/song.flac", record=record)
    mark(file, b"song-b")
    assert not claims.owns(file, key="output/song.flac", record=record)


def test_without_a_mark_bytes_decide_or_the_size_where_reading_is_spared(store: Store, file: Path) -> None:
    claims = load_claims(store, song="song-a", previous=None)
    record = FileRecord(path="x", size_bytes=5, sha256="0" * 64)
    assert not claims.owns(file, key="output/song.flac", record=record)
    assert claims.owns(file, key="output/song.flac", record=record, thorough=False)
    other = FileRecord(path="x", size_bytes=6, sha256="0" * 64)
    assert not claims.owns(file, key="output/song.flac", record=other, thorough=False)


def test_two_processes_do_not_move_one_entry_at_once(store: Store) -> None:
    context = multiprocessing.get_context("fork")
    entered = context.Event()

    def hold() -> None:
        with hold_entry(store, song="song-a"):
            entered.set()
            time.sleep(0.5)
            (store.root / "first").write_bytes(b"")

    child = context.Process(target=hold)
    child.start()
    assert entered.wait(20)
    with hold_entry(store, song="song-b"):
        pass  # another song's is not in the way
    with hold_entry(store, song="song-a"):
        assert (store.root / "first").exists()
    child.join(20)
    assert child.exitcode == 0
