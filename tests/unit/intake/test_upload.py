"""One way in: bytes, rows and what is left behind."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.contracts.v1.limits import LimitScope
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import ErrorCode, IroncladError, Refusal, StorageUnavailable
from ironclad_assets.intake import archive, upload
from ironclad_assets.intake.archive import ArchiveCopy, sweep_abandoned
from ironclad_assets.intake.source import UploadChanged, open_source
from ironclad_assets.intake.upload import take_file
from ironclad_assets.ledger.registration import Registration
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.settings import Settings
from ironclad_assets.storage.opening import open_store
from ironclad_assets.storage.store import Store

BYTES = bytes(range(256)) * 5000  # more than one block


@pytest.fixture
def take(ledger: Ledger, store: Store, settings: Settings) -> Any:
    """`take_file` as the upload folder calls it; anything can be overridden."""

    def call(source: Path, **changes: Any) -> Registration:
        arguments = {
            "ledger": ledger,
            "store": store,
            "settings": settings,
            "user_id": "ada",
            "options": JobOptions(),
            "door": "folder",
            "actor": "watcher",
        }
        return take_file(source, **{**arguments, **changes})

    return call


def drop(store: Store, name: str = "song.mp3", content: bytes = BYTES) -> Path:
    file = store.input / name
    file.write_bytes(content)
    return file


def archived(store: Store) -> list[Path]:
    return [path for path in store.archive.rglob("*") if path.is_file()]


def test_a_file_is_archived_by_its_hash_read_only_and_leaves_the_folder(
    take: Any, store: Store, ledger: Ledger
) -> None:
    file = drop(store)
    registration = take(file)
    song = ledger.song(registration.job.song)
    digest = hashlib.sha256(BYTES).hexdigest()
    assert not registration.duplicate
    assert not file.exists()
    assert (song.sha256, song.size_bytes, song.archive_path) == (digest, len(BYTES), f"archive/{digest[:2]}/{digest}")
    assert (song.original_name, song.user_id, song.door) == ("song.mp3", "ada", "folder")
    kept = store.path(song.archive_path)
    assert kept.read_bytes() == BYTES
    assert kept.stat().st_mode & 0o777 == 0o444
    assert archived(store) == [kept]


def test_a_kept_file_stays_where_it_is_under_the_name_given(take: Any, tmp_path: Path, ledger: Ledger) -> None:
    file = tmp_path / "mine.wav"
    file.write_bytes(b"mine")
    registration = take(file, keep_source=True, original_name="../My\nSong.wav", door="cli")
    assert file.read_bytes() == b"mine"
    assert ledger.song(registration.job.song).original_name == "My Song.wav"


def test_the_same_bytes_again_are_linked_to_their_song_and_removed(take: Any, store: Store) -> None:
    """DUP-001."""
    first = take(drop(store))
    second_file = drop(store, "other.mp3")
    second = take(second_file)
    assert second.duplicate
    assert second.job == first.job
    assert not second_file.exists()
    assert len(archived(store)) == 1


def test_two_users_share_bytes_but_no_song(take: Any, store: Store) -> None:
    first, second = take(drop(store)), take(drop(store), user_id="bob")
    assert not second.duplicate
    assert first.job.song != second.job.song
    assert len(archived(store)) == 1


@pytest.mark.parametrize("kind", ["too_large", "hard_linked"])
def test_a_file_refused_unread_goes_to_quarantine_with_its_reason(
    take: Any, store: Store, ledger: Ledger, kind: str
) -> None:
    """CAT-002, CAT-003."""
    file = drop(store, "big\x1b.mp3")
    if kind == "hard_linked":
        os.link(file, store.root / "other name")
    else:
        ledger.limits.set(LimitScope.ROLE, "member", "max_upload_bytes", 1000, actor="test")
    registration = take(file)
    job = registration.job
    assert not file.exists()
    assert (job.state, job.error.code if job.error else None) == (JobState.FAILED, kind)
    folder = store.quarantine(job.song)
    assert (folder / "original").read_bytes() == BYTES
    told = json.loads((folder / "error.json").read_text())
    assert (told["code"], told["original_name"], told["job_uuid"]) == (kind, "big.mp3", job.job_uuid)
    assert ledger.song(job.song).archive_path == f"error/{job.song}/original"
    assert archived(store) == []


def test_a_sparse_terabyte_is_refused_before_it_is_read(take: Any, store: Store, ledger: Ledger) -> None:
    file = drop(store)
    os.truncate(file, 2**40)
    job = take(file).job
    assert job.error is not None
    assert job.error.code == "too_large"
    assert 0 < ledger.usage.system().stored_bytes <= 2**22, "what it occupies, not what it claims"


def test_a_kept_file_is_refused_by_an_error_and_stays(take: Any, tmp_path: Path, ledger: Ledger) -> None:
    file = tmp_path / "mine.wav"
    file.write_bytes(b"mine")
    ledger.limits.set(LimitScope.ROLE, "member", "max_upload_bytes", 3, actor="test")
    with pytest.raises(Refusal, match="4 bytes, the limit is 3") as caught:
        take(file, keep_source=True)
    assert caught.value.code is ErrorCode.TOO_LARGE
    assert file.exists()
    assert ledger.jobs() == []


def test_a_kept_file_may_have_two_names(take: Any, tmp_path: Path) -> None:
    file = tmp_path / "mine.wav"
    file.write_bytes(b"mine")
    os.link(file, tmp_path / "same.wav")
    assert not take(file, keep_source=True).duplicate


@pytest.mark.parametrize("user_id", ["", "Ada", "../x", "a" * 65, "a\n"])
def test_a_bad_user_name_is_refused(take: Any, store: Store, user_id: str) -> None:
    with pytest.raises(Refusal) as caught:
        take(drop(store), user_id=user_id)
    assert caught.value.code is ErrorCode.BAD_USER


@pytest.mark.parametrize("kind", ["fifo", "folder", "link"])
def test_what_is_no_regular_file_is_refused_without_blocking(take: Any, store: Store, kind: str) -> None:
    path = store.input / "x.mp3"
    {"fifo": os.mkfifo, "folder": os.mkdir, "link": lambda it: it.symlink_to("/etc/passwd")}[kind](path)
    with pytest.raises(Refusal) as caught:
        take(path)
    assert caught.value.code is ErrorCode.UNREADABLE


def test_a_missing_file_changed(take: Any, store: Store) -> None:
    with pytest.raises(UploadChanged, match="gone"):
        take(store.input / "nothing.mp3")


def test_a_file_in_a_folder_that_cannot_be_written_is_refused_unread(
    take: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = drop(store)
    monkeypatch.setattr(upload.os, "access", lambda path, mode: Path(path) != store.input)
    with pytest.raises(Refusal, match="cannot be removed"):
        take(file)
    assert archived(store) == []


def test_without_room_nothing_is_begun(take: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    file = drop(store)
    room = type("Usage", (), {"free": store.reserve_bytes + len(BYTES) - 1})
    monkeypatch.setattr(upload.shutil, "disk_usage", lambda _: room)
    with pytest.raises(StorageUnavailable) as caught:
        take(file)
    assert caught.value.code is ErrorCode.STORAGE_FULL
    assert file.exists()
    assert archived(store) == []


def test_without_the_sentinel_nothing_is_taken_or_moved(take: Any, store: Store, ledger: Ledger) -> None:
    file = drop(store)
    os.link(file, store.root / "other name")
    store.sentinel.unlink()
    with pytest.raises(StorageUnavailable):
        take(file)
    (store.root / "other name").unlink()
    with pytest.raises(StorageUnavailable):
        take(file)
    assert file.exists()
    assert ledger.jobs() == []


@pytest.mark.parametrize("change", ["appended", "cut", "rewritten"])
def test_a_file_that_changes_while_it_is_copied_is_left_and_its_copy_dropped(
    take: Any, store: Store, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    file = drop(store)
    monkeypatch.setattr(archive, "_clone", lambda source, target: False)
    real = os.pread
    calls = []

    def interfere(descriptor: int, count: int, offset: int) -> bytes:
        block = real(descriptor, count, offset)
        if not calls:
            calls.append(1)
            if change == "cut":
                os.truncate(file, 10)
            else:
                with file.open("ab" if change == "appended" else "r+b") as stream:
                    stream.write(b"more")
                os.utime(file, ns=(5, 5))
        return block

    monkeypatch.setattr(archive.os, "pread", interfere)
    with pytest.raises(UploadChanged):
        take(file)
    assert file.exists()
    assert archived(store) == []
    assert ledger.jobs() == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_file_replaced_under_its_name_is_never_unlinked(
    take: Any, store: Store, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Also one that vanished: its bytes are in."""
    file = drop(store)
    real = Ledger.register

    def swap(self: Ledger, *arguments: Any, **options: Any) -> Registration:
        file.unlink()
        if when == "before":
            file.write_bytes(b"another song")
        return real(self, *arguments, **options)

    monkeypatch.setattr(Ledger, "register", swap)
    take(file)
    assert file.exists() is (when == "before")
    assert len(ledger.jobs()) == 1


@pytest.mark.parametrize("content", [None, b"another"])
def test_a_quarantined_file_that_vanished_or_changed_is_let_be(
    take: Any, store: Store, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    file = drop(store)
    os.link(file, store.root / "other")
    real = Ledger.register

    def swap(self: Ledger, *arguments: Any, **options: Any) -> Registration:
        file.unlink()
        if content is not None:
            file.write_bytes(content)
        return real(self, *arguments, **options)

    monkeypatch.setattr(Ledger, "register", swap)
    job = take(file).job
    assert job.state is JobState.FAILED
    assert not (store.quarantine(job.song) / "original").exists()
    assert (file.read_bytes() if file.exists() else None) == content


@pytest.mark.parametrize(
    ("function", "number", "code"),
    [
        ("pwrite", 28, ErrorCode.STORAGE_FULL),
        ("fsync", 5, ErrorCode.STORAGE_AWAY),
        ("replace", 30, ErrorCode.STORAGE_READ_ONLY),
    ],
)
def test_a_disk_that_fails_is_told_as_storage_and_nothing_is_left(
    take: Any,
    store: Store,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    number: int,
    code: ErrorCode,
) -> None:
    file = drop(store)
    monkeypatch.setattr(archive, "_clone", lambda source, target: False)

    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, function, fail)
        with pytest.raises(StorageUnavailable) as caught:
            take(file)
    assert caught.value.code is code
    assert file.exists()
    assert archived(store) == []
    assert ledger.jobs() == []
    assert not take(file).duplicate


def test_a_copy_that_cannot_be_made_is_told_as_storage(
    take: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = drop(store)
    real = os.open

    def fail(path: Any, flags: int, *rest: int) -> int:
        if Path(path).parent == store.archive:
            raise OSError(30, "Read-only file system")
        return real(path, flags, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        with pytest.raises(StorageUnavailable):
            take(file)
    assert not take(file).duplicate


def test_a_source_that_cannot_be_read_to_its_end_is_left(
    take: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = drop(store)
    monkeypatch.setattr(archive, "_clone", lambda source, target: False)

    def fail(*_: Any) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(archive.os, "pread", fail)
    with pytest.raises(IroncladError) as caught:
        take(file)
    assert caught.value.code is ErrorCode.UNREADABLE
    assert file.exists()
    assert archived(store) == []


@pytest.mark.parametrize("number", [1, 18])
def test_a_source_that_cannot_be_removed_is_told(
    take: Any, store: Store, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    file = drop(store)

    real = os.unlink

    def fail(path: Path | str, *, dir_fd: int | None = None) -> None:
        if path == file.name:
            raise OSError(number, os.strerror(number))
        real(path, dir_fd=dir_fd)

    monkeypatch.setattr(upload.os, "unlink", fail)
    with pytest.raises((StorageUnavailable, OSError)):
        take(file)


def test_a_quarantine_that_cannot_be_written_leaves_the_file(
    take: Any, store: Store, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = drop(store)
    os.link(file, store.root / "other")
    real = os.replace

    def fail(source: Path | str, destination: Path, **options: Any) -> None:
        if destination.name == "original":
            raise OSError(30, "Read-only file system")
        real(source, destination, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(StorageUnavailable):
            take(file)
    assert file.exists()
    assert take(file).job.state is JobState.FAILED
    assert len(ledger.jobs()) == 1
    assert not file.exists()


def test_a_cloned_copy_is_hashed_from_the_clone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    file = drop(store)

    def clone(source: int, *, target: int) -> bool:
        os.pwrite(target, file.read_bytes(), 0)
        return True

    monkeypatch.setattr(archive, "_clone", clone)
    with open_source(file) as descriptor:
        copy = ArchiveCopy(descriptor, store=store)
    assert copy.advance(0.0) is False
    assert copy.advance(float("inf")) is True
    copy.store()
    copy.close()
    assert copy.sha256 == hashlib.sha256(BYTES).hexdigest()
    assert store.path(copy.archive_path).read_bytes() == BYTES


def test_cloning_shares_blocks_where_the_file_system_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive.fcntl, "ioctl", lambda *_: 0)
    assert archive._clone(0, target=1)


def test_an_incomplete_copy_is_never_stored(store: Store) -> None:
    with open_source(drop(store)) as descriptor:
        copy = ArchiveCopy(descriptor, store=store)
    with pytest.raises(UploadChanged):
        copy.store()
    copy.close()
    assert archived(store) == []


def test_copies_left_by_a_crash_are_swept_when_nobody_writes_them(store: Store) -> None:
    old, young = store.archive / ".old.part", store.archive / ".young.part"
    old.touch()
    young.touch()
    os.utime(old, (1, 1))
    assert sweep_abandoned(store) == [".old.part"]
    assert archived(store) == [young]


def test_an_upload_asks_a_bucket_five_times(take: Any, tmp_path: Path, s3: Any) -> None:
    """As docs/storage.md counts them: thousands of files wait for each of these."""
    settings = Settings(home=tmp_path / "here", disk_reserve_bytes=1, **s3.environment())
    store = open_store(settings)
    store.create()
    source, begun = drop(store, "song.flac"), len(s3.requests)
    take(source, store=store, settings=settings)
    assert [request.method for request in s3.requests[begun:]] == ["GET", "PUT", "HEAD", "HEAD", "HEAD"]
