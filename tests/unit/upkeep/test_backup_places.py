"""Where backups go: a mount point whose disk is away is not taken for the disk; deletions reach every place."""

import errno
import os
import re
import shutil
from pathlib import Path

import pytest

from ironclad_assets.errors import ErrorCode, IroncladError
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.tombstones import digest_of
from ironclad_assets.sensors.backup import perform_backup
from ironclad_assets.settings import Settings
from ironclad_assets.storage import atomic
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.backup.create import BackupWish, create_backup
from ironclad_assets.upkeep.backup.places import ID_FILE, KNOWN_BACKUPS, known_folders
from ironclad_assets.upkeep.backup.repository import Repository
from ironclad_assets.upkeep.erase import tombstones
from ironclad_assets.upkeep.erase.eraser import Eraser, Progress
from tests.unit.upkeep.backups import bring_back, make
from tests.unit.upkeep.installations import Installed, install
from tests.unit.upkeep.test_erase import Scheduler


@pytest.fixture
def installed(installed: Installed) -> Installed:
    """An installation with a song."""
    installed.add_song(1)
    return installed


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A mount point."""
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


def erase(installed: Installed) -> Progress:
    """Carry on with the deletions that are not done."""
    return Eraser(
        settings=installed.settings, ledger=installed.ledger, store=installed.store, elsewhere=Scheduler(), alone=True
    ).work()


@pytest.mark.parametrize("below", [".", "ironclad/backups"])
def test_mount_point_whose_disk_is_away_is_not_taken_for_it(installed: Installed, disk: Path, below: str) -> None:
    """Promise 14: nothing is written where nobody will look for it."""
    folder = disk / below
    make(installed, folder)
    away = disk.rename(disk.with_name("away"))
    disk.mkdir()
    for _ in range(2):
        with pytest.raises(IroncladError, match="--anew") as caught:
            make(installed, folder)
        assert caught.value.code is ErrorCode.STORAGE_AWAY
        assert not list(disk.iterdir())
    disk.rmdir()
    away.rename(disk)
    make(installed, folder)
    assert len(Repository(folder.resolve()).ids()) == 2


@pytest.mark.parametrize("configured", [True, False])
def test_the_command_that_is_named_is_about_this_folder(installed: Installed, tmp_path: Path, configured: bool) -> None:
    """Without --to it would begin anew elsewhere, and this folder stay refused."""
    disk = tmp_path / "my disk"
    settings = installed.settings.model_copy(update={"backup_path": disk if configured else None})
    wish = BackupWish(folder=disk)
    create_backup(settings, wish=wish, actor="me")
    shutil.rmtree(disk)
    named = "backup create --anew" if configured else f"backup create --anew --to '{disk}'"
    with pytest.raises(IroncladError, match=f"{re.escape(named)}$"):
        create_backup(settings, wish=wish, actor="me")


def test_another_disk_is_another(installed: Installed, disk: Path) -> None:
    make(installed, disk)
    disk.rename(disk.with_name("away"))
    (installed.settings.home_dir / KNOWN_BACKUPS).rename(installed.settings.home_dir / "aside")
    make(installed, disk, anew=True)
    (installed.settings.home_dir / "aside").rename(installed.settings.home_dir / KNOWN_BACKUPS)
    with pytest.raises(IroncladError, match="the backups of another"):
        make(installed, disk)


def test_disk_that_was_replaced_is_taken_once_somebody_says_so(installed: Installed, disk: Path) -> None:
    make(installed, disk)
    shutil.rmtree(disk)
    make(installed, disk, anew=True)
    make(installed, disk)
    assert len(Repository(disk).ids()) == 2


def test_backups_of_an_older_release_are_taken_as_they_are(installed: Installed, disk: Path) -> None:
    make(installed, disk)
    (disk / ".backups-id").unlink()
    (installed.settings.home_dir / KNOWN_BACKUPS).unlink()
    make(installed, disk)
    assert len(Repository(disk).ids()) == 2


@pytest.mark.parametrize("anew", [False, True])
def test_mount_point_is_not_taken_for_a_disk_that_only_the_audit_knows(
    installed: Installed, disk: Path, anew: bool
) -> None:
    """A home whose `backups.json` an older release never wrote, or that was restored from another folder."""
    make(installed, disk)
    (installed.settings.home_dir / KNOWN_BACKUPS).unlink()
    shutil.rmtree(disk)
    if anew:
        make(installed, disk, anew=True)
        return
    with pytest.raises(IroncladError, match="--anew") as caught:
        make(installed, disk)
    assert caught.value.code is ErrorCode.STORAGE_AWAY
    assert not disk.exists()


def test_stores_own_backups_go_with_the_store(installed: Installed) -> None:
    """A store that was replaced is found by its own id; nobody has to say it twice."""
    perform_backup(installed.settings)
    shutil.rmtree(installed.settings.store_root / "backups")
    perform_backup(installed.settings)


def test_home_knows_every_place(installed: Installed, disk: Path, tmp_path: Path) -> None:
    make(installed, disk)
    make(installed, None)
    configured = installed.settings.model_copy(update={"backup_path": tmp_path / "nas"})
    assert known_folders(configured) == [disk, installed.settings.store_root / "backups", tmp_path / "nas"]


def test_a_deletion_reaches_every_place_that_is_there(installed: Installed, disk: Path, tmp_path: Path) -> None:
    """Promise 16: a backup made by hand does not bring back what was deleted since."""
    make(installed, disk)
    make(installed, tmp_path / "usb")
    shutil.rmtree(tmp_path / "usb")
    installed.ledger.deletions.request_song("s1", actor="me")
    erase(installed)
    stones = {stone.digest for stone in tombstones.read_file(disk / tombstones.FILE_NAME)}
    assert digest_of("song", "s1") in stones
    assert not (tmp_path / "usb").exists(), "a disk that is away gets them with its next backup"


def test_disk_that_was_away_gets_the_deletions_though_it_is_too_full_for_a_backup(
    installed: Installed, disk: Path, tmp_path: Path
) -> None:
    make(installed, disk)
    disk.rename(tmp_path / "away")
    installed.ledger.deletions.request_song("s1", actor="me")
    erase(installed)
    (tmp_path / "away").rename(disk)
    settings = installed.settings.model_copy(update={"disk_reserve_bytes": 1 << 60})
    with pytest.raises(IroncladError) as caught:
        create_backup(settings, wish=BackupWish(folder=disk), actor="me")
    assert caught.value.code is ErrorCode.STORAGE_FULL
    stones = {stone.digest for stone in tombstones.read_file(disk / tombstones.FILE_NAME)}
    assert digest_of("song", "s1") in stones


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"/mnt": 1}'])
def test_memory_that_is_damaged_stops_neither_backups_nor_deletions(
    installed: Installed, disk: Path, content: bytes
) -> None:
    make(installed, disk)
    (installed.settings.home_dir / KNOWN_BACKUPS).write_bytes(content)
    installed.ledger.deletions.request_song("s1", actor="me")
    erase(installed)
    (installed.settings.home_dir / KNOWN_BACKUPS).write_bytes(content)
    make(installed, disk)
    assert disk in known_folders(installed.settings)


@pytest.mark.parametrize("content", [b"", b"0f6a", b"\xff\xfe"])
def test_id_that_is_damaged_is_made_anew_once_somebody_says_so(
    installed: Installed, disk: Path, content: bytes
) -> None:
    make(installed, disk)
    atomic.write_bytes(disk / ID_FILE, content)
    with pytest.raises(IroncladError, match="--anew") as caught:
        make(installed, disk)
    assert caught.value.code is ErrorCode.STORAGE_AWAY
    make(installed, disk, anew=True)
    make(installed, disk)


def test_share_that_has_gone_stale_keeps_no_deletion_waiting(installed: Installed, disk: Path, monkeypatch) -> None:
    make(installed, disk)
    stat = Path.stat

    def stale(self: Path, **how: bool) -> os.stat_result:
        if self.is_relative_to(disk):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return stat(self, **how)

    monkeypatch.setattr(Path, "stat", stale)
    receipt = installed.ledger.deletions.request_song("s1", actor="me").receipt
    assert erase(installed).done == (receipt,)


def test_deletion_is_not_told_to_another_installation_whose_disk_is_in_the_same_place(
    installed: Installed, disk: Path, tmp_path: Path
) -> None:
    """Its list is about its own users: one who is called the same there would be gone after a restore."""
    other = install(Settings(home=tmp_path / "other", disk_reserve_bytes=1))
    other.add_song(1, user_id="ada")
    make(installed, disk)
    disk.rename(tmp_path / "away")
    made = make(other, disk)
    installed.ledger.deletions.request_user("ada", actor="me")
    erase(installed)
    assert bring_back(made, Settings(home=tmp_path / "new", disk_reserve_bytes=1)).deleted_again == 0
    other.ledger.close()


def test_deletion_reaches_the_folder_that_this_home_was_restored_from(
    installed: Installed, disk: Path, tmp_path: Path
) -> None:
    """Promise 16: a second restore from it had brought back what was deleted after the first."""
    made = make(installed, disk)
    settings = Settings(home=tmp_path / "new", disk_reserve_bytes=1)
    bring_back(made, settings)
    new = Installed(settings, Store(settings.store_root, 1), Ledger(settings.ledger_url))
    new.ledger.deletions.request_song("s1", actor="me")
    erase(new)
    new.ledger.close()
    third = Settings(home=tmp_path / "third", disk_reserve_bytes=1)
    assert bring_back(made, third).deleted_again == 1
    assert not list((third.store_root / "archive").rglob("*/*"))


def test_mount_point_is_not_taken_for_the_disk_that_this_home_was_restored_from(
    installed: Installed, disk: Path, tmp_path: Path
) -> None:
    made = make(installed, disk)
    settings = Settings(home=tmp_path / "new", disk_reserve_bytes=1)
    bring_back(made, settings)
    disk.rename(tmp_path / "away")
    with pytest.raises(IroncladError, match="--anew") as caught:
        create_backup(settings, wish=BackupWish(folder=disk), actor="me")
    assert caught.value.code is ErrorCode.STORAGE_AWAY
