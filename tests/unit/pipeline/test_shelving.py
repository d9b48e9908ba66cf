"""Single files on their way into and out of a library, when the file system says no."""

import errno
from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.base import FileRecord
from ironclad_assets.errors import ErrorCode, PermanentFailure, StorageUnavailable
from ironclad_assets.pipeline import shelving
from ironclad_assets.pipeline.shelving import copy_in, give_name, occupant, remove_file, spelled_as_on_disk
from ironclad_assets.storage import atomic


def failing(number: int) -> object:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise OSError(number, "no")

    return fail


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    path = tmp_path / "copy"
    path.write_bytes(b"audio")
    return path


def test_a_missing_source_is_a_missing_artifact(tmp_path: Path) -> None:
    record = FileRecord(path="gone", size_bytes=1, sha256="0" * 64)
    with pytest.raises(PermanentFailure) as caught:
        copy_in(tmp_path / "gone", record=record, folder=tmp_path, song="s")
    assert caught.value.code is ErrorCode.ARTIFACT_MISSING


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, ErrorCode.STORAGE_FULL),
        (errno.EROFS, ErrorCode.STORAGE_READ_ONLY),
        (errno.EIO, ErrorCode.STORAGE_AWAY),
    ],
)
def test_a_name_that_cannot_be_given_is_the_storages_error(
    tmp_path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: ErrorCode
) -> None:
    monkeypatch.setattr(shelving.os, "link", failing(number))
    with pytest.raises(StorageUnavailable) as caught:
        give_name(copy, destination=tmp_path / "a" / "b", replace=False)
    assert caught.value.code is code
    assert not (tmp_path / "a" / "b").exists()


def test_a_folder_that_another_song_removes_in_between_is_made_again(
    tmp_path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = tmp_path / "album" / "song"
    make_folder, calls = atomic.make_folder, []

    def make_and_lose(folder: Path) -> None:
        make_folder(folder)
        calls.append(folder)
        if len(calls) < 3:
            folder.rmdir()

    monkeypatch.setattr(shelving.atomic, "make_folder", make_and_lose)
    give_name(copy, destination=destination, replace=False)
    assert destination.read_bytes() == b"audio"


def test_a_copy_that_is_gone_is_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        give_name(tmp_path / "gone", destination=tmp_path / "a", replace=False)


def test_without_links_a_taken_name_is_still_taken(tmp_path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"theirs")
    monkeypatch.setattr(shelving.os, "link", failing(errno.EPERM))
    with pytest.raises(FileExistsError):
        give_name(copy, destination=tmp_path / "a", replace=False)
    monkeypatch.setattr(shelving.os, "open", failing(errno.EROFS))
    with pytest.raises(StorageUnavailable):
        shelving._reserve(tmp_path / "b")


def test_a_file_in_a_folder_that_is_gone_counts_as_removed(tmp_path: Path) -> None:
    remove_file(tmp_path / "gone" / "file", root=tmp_path)
    assert tmp_path.is_dir()


def test_a_file_that_cannot_be_removed_is_the_storages_error(
    tmp_path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "unlink", failing(errno.EROFS))
    with pytest.raises(StorageUnavailable):
        remove_file(copy, root=tmp_path)


def test_no_folder_of_that_name_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelving, "_MAX_FOLDER_COPIES", 2)
    (tmp_path / "Ann").write_bytes(b"")
    with pytest.raises(PermanentFailure, match="not a folder"):
        spelled_as_on_disk(tmp_path, "Ann/song.flac")


def test_nothing_stands_below_a_file(tmp_path: Path, copy: Path) -> None:
    assert occupant(copy / "song") is None
