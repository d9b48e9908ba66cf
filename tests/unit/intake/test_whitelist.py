"""The folders that files are taken from, however they are named."""

from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import ErrorCode, Refusal
from ironclad_assets.intake.upload import take_file
from ironclad_assets.ledger.store import Ledger, Registration
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    folder = tmp_path / "music"
    folder.mkdir()
    return folder


@pytest.fixture
def listed(settings: Settings, allowed: Path, tmp_path: Path) -> Settings:
    """Settings that name two folders, the second of which is a symbolic link."""
    (tmp_path / "real").mkdir()
    (tmp_path / "usb").symlink_to(tmp_path / "real")
    return settings.model_copy(update={"submit_folders": f"{allowed}:{tmp_path / 'usb'}"})


def write(path: Path) -> Path:
    path.write_bytes(b"song " + path.name.encode())
    return path


def submit(path: Path, *, ledger: Ledger, store: Store, settings: Settings, keep: bool = True) -> Registration:
    return take_file(
        path,
        ledger=ledger,
        store=store,
        settings=settings,
        user_id="local",
        options=JobOptions(),
        door="cli",
        actor="test",
        keep_source=keep,
    )


def test_without_a_list_files_come_from_everywhere(
    ledger: Ledger, store: Store, settings: Settings, tmp_path: Path
) -> None:
    assert not submit(write(tmp_path / "a.mp3"), ledger=ledger, store=store, settings=settings).duplicate


@pytest.mark.parametrize("place", ["music", "music/deep/er", "usb", "real"])
def test_files_in_listed_folders_and_below_are_taken(
    ledger: Ledger, store: Store, listed: Settings, tmp_path: Path, place: str
) -> None:
    """SPLIT-020"""
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    assert not submit(write(tmp_path / place / "a.mp3"), ledger=ledger, store=store, settings=listed).duplicate


def test_files_elsewhere_are_refused_before_they_are_read(
    ledger: Ledger, store: Store, listed: Settings, allowed: Path, tmp_path: Path
) -> None:
    """SPLIT-020"""
    (tmp_path / "music-of-others").mkdir()
    (allowed / "door").symlink_to(tmp_path / "music-of-others")
    outside = write(tmp_path / "music-of-others" / "a.mp3")
    climbing = allowed / ".." / "music-of-others" / "a.mp3"
    for path in (outside, allowed / "door" / "a.mp3", climbing):
        with pytest.raises(Refusal, match=r"'a.mp3' lies in .*music-of-others; files are taken from") as caught:
            submit(path, ledger=ledger, store=store, settings=listed)
        assert caught.value.code is ErrorCode.PATH_REFUSED
    assert [path for path in store.archive.rglob("*") if path.is_file()] == []
    assert ledger.jobs() == []


def test_a_link_in_a_listed_folder_is_not_followed(
    ledger: Ledger, store: Store, listed: Settings, allowed: Path, tmp_path: Path
) -> None:
    (allowed / "a.mp3").symlink_to(write(tmp_path / "secret"))
    with pytest.raises(Refusal) as caught:
        submit(allowed / "a.mp3", ledger=ledger, store=store, settings=listed)
    assert caught.value.code is ErrorCode.UNREADABLE


def test_the_list_says_nothing_about_the_upload_folder(ledger: Ledger, store: Store, listed: Settings) -> None:
    dropped = write(store.input / "a.mp3")
    assert not submit(dropped, ledger=ledger, store=store, settings=listed, keep=False).duplicate
