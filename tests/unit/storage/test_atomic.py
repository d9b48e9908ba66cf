"""The atomic writer: a file that exists is whole, whatever happens while it is written."""

import errno
import os
from pathlib import Path
from typing import BinaryIO

import pytest

from ironclad_assets.errors import ErrorCode, StorageUnavailable
from ironclad_assets.storage import atomic


def test_written_file_has_its_content_and_no_partial_beside_it(tmp_path):
    atomic.write_bytes(tmp_path / "song.bin", b"abc")
    assert (tmp_path / "song.bin").read_bytes() == b"abc"
    assert [entry.name for entry in tmp_path.iterdir()] == ["song.bin"]


def test_failing_writer_leaves_the_old_file_and_no_partial(tmp_path):
    target = tmp_path / "song.bin"
    atomic.write_bytes(target, b"old")

    def fail(stream: BinaryIO) -> None:
        stream.write(b"half")
        raise RuntimeError("engine died")

    with pytest.raises(RuntimeError, match="engine died"):
        atomic.write_atomically(target, fail)
    assert target.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["song.bin"]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, ErrorCode.STORAGE_FULL),
        (errno.EDQUOT, ErrorCode.STORAGE_FULL),
        (errno.EROFS, ErrorCode.STORAGE_READ_ONLY),
        (errno.EIO, ErrorCode.STORAGE_AWAY),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_storage_errors_get_their_published_code_and_leave_nothing(tmp_path, monkeypatch, number, code, call):
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(atomic.os, call, refuse)
    with pytest.raises(StorageUnavailable) as caught:
        atomic.write_bytes(tmp_path / "song.bin", b"abc")
    assert caught.value.code is code
    assert list(tmp_path.iterdir()) == []


def test_existing_file_is_kept_where_replacing_is_not_allowed(tmp_path):
    target = tmp_path / "cover.jpg"
    atomic.write_bytes(target, b"theirs")
    with pytest.raises(FileExistsError):
        atomic.write_atomically(target, lambda stream: stream.write(b"ours") and None, replace=False)
    assert target.read_bytes() == b"theirs"
    assert [entry.name for entry in tmp_path.iterdir()] == ["cover.jpg"]


def test_full_disk_is_named_and_the_existing_file_unharmed(full_disk: Path):
    target = full_disk / "song.bin"
    atomic.write_bytes(target, b"old")
    with pytest.raises(StorageUnavailable) as caught:
        atomic.write_bytes(target, b"x" * 4_000_000)
    assert caught.value.code is ErrorCode.STORAGE_FULL
    assert target.read_bytes() == b"old"
    assert [entry.name for entry in full_disk.iterdir()] == ["song.bin"]
