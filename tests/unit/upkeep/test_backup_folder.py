"""The folder of backups: what else lies in it stays, and what cannot be read for a moment is not taken for gone."""

import errno
import os
from pathlib import Path

import pytest

from ironclad_assets.errors import ErrorCode, IroncladError
from ironclad_assets.sensors.backup import perform_backup
from ironclad_assets.settings import Settings
from ironclad_assets.storage import atomic
from ironclad_assets.upkeep.backup.objects import ObjectWriter
from ironclad_assets.upkeep.backup.repository import Repository
from ironclad_assets.upkeep.backup.restore import RestoreWish, restore_backup
from ironclad_assets.upkeep.backup.songs import DumpedSong, SongCollector
from ironclad_assets.upkeep.backup.verify import verify_backup
from tests.unit.upkeep.backups import let_disk_fail, make
from tests.unit.upkeep.installations import Installed, install


@pytest.fixture
def installed(installed: Installed) -> Installed:
    """An installation with a song."""
    installed.add_song(1)
    return installed


def test_unfinished_work_of_a_store_below_the_folder_stays(installed: Installed) -> None:
    work = installed.store.stage("stems", "s1").work("ab" * 32) / "vocals.raw"
    work.write_bytes(b"half of it")
    make(installed, installed.store.root)
    make(installed, installed.store.root.parent)
    assert work.read_bytes() == b"half of it"


@pytest.mark.parametrize("path", ["snapshots/2026-01-01/music/a.flac", "objects/ab/cdef", "objects/pack/one.part"])
def test_what_other_programs_keep_in_the_folder_stays(installed: Installed, folder: Path, path: str) -> None:
    atomic.make_folder((folder / path).parent)
    (folder / path).write_bytes(b"somebody's")
    made = make(installed, folder)
    repository = Repository(folder)
    make(installed, folder)
    assert repository.remove([made.manifest.id])
    assert (folder / path).read_bytes() == b"somebody's"
    assert len(repository.ids()) == 1


def test_backups_that_cannot_be_listed_are_not_taken_for_none(installed: Installed, folder: Path, monkeypatch) -> None:
    """Promise 18: what a backup needs is not removed because a disk or a share refused once."""
    made = make(installed, folder)
    repository = Repository(folder)

    def refusing(call):
        def refuse(path="."):
            if Path(path).name == "snapshots":
                raise PermissionError(13, os.strerror(13))
            return call(path)

        return refuse

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refusing(os.scandir))
        patch.setattr(os, "listdir", refusing(os.listdir))
        with pytest.raises(IroncladError) as caught:
            repository.remove([])
        assert caught.value.code is ErrorCode.STORAGE_READ_ONLY
    assert verify_backup(repository, made.manifest.id).whole


def test_manifest_that_cannot_be_read_stops_no_backup_and_keeps_its_objects(
    installed: Installed, folder: Path, monkeypatch
) -> None:
    first, repository = make(installed, folder), Repository(folder)
    installed.add_song(2)
    with monkeypatch.context() as patch:
        let_disk_fail(repository.manifest_file(first.manifest.id), monkeypatch=patch)
        second = make(installed, folder)
        assert verify_backup(repository, second.manifest.id).whole
        damage = verify_backup(repository, first.manifest.id).damage
        assert [line for line in damage if "cannot be read" in line]
        assert repository.remove([]) == 0
    assert verify_backup(repository, first.manifest.id).whole


@pytest.mark.parametrize("links", [True, False], ids=["linked", "copied"])
def test_disk_that_goes_away_half_way_is_not_taken_for_lost_originals(
    installed: Installed, folder: Path, links: bool, monkeypatch
) -> None:
    installed.add_song(2)
    if not links:
        monkeypatch.setattr(ObjectWriter, "_link", lambda *_: False)
    add, told = SongCollector.add, []

    def lose_disk(self: SongCollector, one: DumpedSong) -> None:
        if folder.is_dir() and one.song == "s2":
            folder.rename(folder.with_name("away"))
            folder.mkdir()
        add(self, one)
        told.extend(self.collector.missing)

    monkeypatch.setattr(SongCollector, "add", lose_disk)
    with pytest.raises(IroncladError) as caught:
        make(installed, folder)
    assert (caught.value.code, told) == (ErrorCode.STORAGE_AWAY, [])
    assert not list(folder.iterdir())


def test_share_that_stops_answering_is_not_taken_for_lost_originals(
    installed: Installed, folder: Path, monkeypatch
) -> None:
    """A number that no table of this project has: the repository's errors are never a source's."""
    monkeypatch.setattr(ObjectWriter, "_link", lambda *_: False)
    original, opened = installed.ledger.song("s1").archive_path, Path.open
    last: list[Path] = []

    def open_tired(self: Path, mode: str = "r", *rest: object, **options: object) -> object:
        if mode == "xb" and last[-1] == installed.store.path(original):
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        last.append(self)
        return opened(self, mode, *rest, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", open_tired)
    with pytest.raises(IroncladError, match="timed out") as caught:
        make(installed, folder)
    assert caught.value.code is ErrorCode.STORAGE_AWAY
    assert Repository(folder).ids() == []


@pytest.mark.parametrize("what", ["link", "file"])
def test_place_that_is_no_folder_is_told_as_a_disk_that_is_away(installed: Installed, folder: Path, what: str) -> None:
    if what == "link":
        folder.symlink_to(folder.with_name("not mounted"))
    else:
        folder.write_bytes(b"")
    with pytest.raises(IroncladError, match="no folder") as caught:
        make(installed, folder)
    assert caught.value.code is ErrorCode.STORAGE_AWAY


def test_object_that_its_disk_did_not_give_for_a_while_is_not_removed_while_it_is_needed(
    installed: Installed, folder: Path, monkeypatch
) -> None:
    """Promise 18: it may be the only copy of an original that the store lost."""
    made, repository = make(installed, folder), Repository(folder)
    song = installed.ledger.song("s1")
    installed.store.path(song.archive_path).unlink()
    with monkeypatch.context() as patch:
        let_disk_fail(repository.object_file(song.sha256), monkeypatch=patch)
        assert verify_backup(repository, made.manifest.id, mend=True).put_aside == 1
        repository.remove([])
    assert verify_backup(repository, made.manifest.id).damage == [f"object {song.sha256} is missing"]
    assert verify_backup(repository, made.manifest.id, mend=True).whole
    assert verify_backup(repository, made.manifest.id).whole


def test_object_that_was_put_aside_goes_once_another_took_its_place(installed: Installed, folder: Path) -> None:
    made, repository = make(installed, folder), Repository(folder)
    stored = repository.object_file(installed.ledger.song("s1").sha256)
    stored.unlink()
    atomic.write_bytes(stored, b"z" * installed.ledger.song("s1").size_bytes)
    assert verify_backup(repository, made.manifest.id, mend=True).put_aside == 1
    make(installed, folder)
    repository.remove([])
    assert [path.name for path in stored.parent.iterdir()] == [stored.name]
    assert verify_backup(repository, made.manifest.id).whole


def test_schedule_tells_of_a_damaged_manifest_that_keeps_space_from_being_freed(
    installed: Installed, folder: Path
) -> None:
    settings = installed.settings.model_copy(update={"backup_path": folder, "backup_keep": 1})
    damaged, repository = perform_backup(settings)["backup"], Repository(folder)
    atomic.write_bytes(repository.manifest_file(damaged), b"{}")
    for _ in range(2):
        figures = perform_backup(settings)
        assert [line for line in figures["warnings"] if f"pipelinectl backup remove {damaged}" in line]
    assert figures["freed_bytes"] == 0
    assert repository.remove([damaged]) > 0
    assert perform_backup(settings)["warnings"] == []


def test_schedule_removes_no_backup_of_another_installation(installed: Installed, folder: Path, tmp_path: Path) -> None:
    other = install(Settings(home=tmp_path / "other", disk_reserve_bytes=1, backup_path=folder, backup_keep=1))
    settings = installed.settings.model_copy(update={"backup_path": folder, "backup_keep": 1})
    first = perform_backup(settings)["backup"]
    for _ in range(2):
        newest = perform_backup(other.settings)["backup"]
    assert Repository(folder).ids() == [first, newest]
    other.ledger.close()


def test_schedule_of_a_restored_machine_lets_go_of_the_backups_it_came_from(
    installed: Installed, folder: Path, tmp_path: Path
) -> None:
    """A user who is deleted after the move expires from them as from all others."""
    made = [perform_backup(installed.settings.model_copy(update={"backup_path": folder}))["backup"] for _ in range(2)]
    moved = Settings(home=tmp_path / "new", disk_reserve_bytes=1, backup_path=folder, backup_keep=1)
    restore_backup(moved, wish=RestoreWish(repository=Repository(folder), backup=made[-1]), actor="me")
    newest = perform_backup(moved)["backup"]
    assert Repository(folder).ids() == [newest]
