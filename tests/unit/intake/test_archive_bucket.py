"""Originals on their way into a bucket: registered only when they are there, and never holding up a tick."""

import math
import os
import threading
import time

import pytest

from ironclad_assets.errors import ErrorCode, StorageUnavailable
from ironclad_assets.intake.archive import ArchiveCopy
from ironclad_assets.settings import Settings
from ironclad_assets.storage.opening import open_store

SONG = b"song" * 1000


@pytest.fixture
def store(s3, tmp_path):
    store = open_store(Settings(home=tmp_path / "home", disk_reserve_bytes=1, **s3.environment()))
    store.create()
    return store


@pytest.fixture
def copy(store, tmp_path):
    path = tmp_path / "song.flac"
    path.write_bytes(SONG)
    descriptor = os.open(path, os.O_RDONLY)
    copy = ArchiveCopy(descriptor, store=store)
    os.close(descriptor)
    yield copy
    copy.close()


def archived(store):
    return [path for path in store.archive.rglob("*") if path.is_file()]


def test_copy_is_done_when_it_is_in_the_bucket(copy, store, s3):
    """Promise 1, for a bucket: accepted means durable."""
    assert copy.advance(math.inf)
    assert s3.content(f"store/{copy.archive_path}") == SONG
    copy.store()
    assert [path.read_bytes() for path in archived(store)] == [SONG]


def test_slow_bucket_does_not_hold_up_a_tick(copy, s3):
    answered = threading.Event()
    s3.fault = lambda number, request: answered.wait(10) and None
    began = time.monotonic()
    assert not copy.advance(time.monotonic() + 0.2)
    assert not copy.advance(time.monotonic())
    assert time.monotonic() - began < 5
    answered.set()
    assert copy.advance(math.inf)


def test_copy_that_is_let_go_of_meanwhile_leaves_nothing_here(copy, store, s3):
    answered = threading.Event()
    s3.fault = lambda number, request: answered.wait(10) and None
    assert not copy.advance(time.monotonic())
    os.unlink(copy._temporary)  # noqa: PTH108 - as `close` does
    answered.set()
    assert archived(store) == []


def test_bucket_that_is_away_takes_nothing_and_leaves_nothing_here(copy, store, s3):
    s3.away = True
    with pytest.raises(StorageUnavailable) as caught:
        copy.advance(math.inf)
    assert caught.value.code is ErrorCode.STORAGE_AWAY
    with pytest.raises(StorageUnavailable):
        copy.store()
    copy._temporary.unlink()
    assert archived(store) == []


def test_original_that_a_sweep_took_meanwhile_is_put_there_again(copy, store, s3):
    assert copy.advance(math.inf)
    s3.remove(f"store/{copy.archive_path}")
    copy.store()
    assert s3.content(f"store/{copy.archive_path}") == SONG
