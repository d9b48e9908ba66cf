"""Writers of copies, in the form of `writers`: the ledger's export, a backup, a restore, the list of the deleted."""

import hashlib
import json
from pathlib import Path

from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.tombstones import Tombstone, digest_of
from ironclad_assets.upkeep.backup.create import BackupWish, backup_folder, create_backup
from ironclad_assets.upkeep.backup.journal import JOURNAL
from ironclad_assets.upkeep.backup.repository import Repository
from ironclad_assets.upkeep.backup.restore import RestoreWish, restore_backup
from ironclad_assets.upkeep.backup.verify import verify_backup
from ironclad_assets.upkeep.erase.tombstones import merge_file, read_file
from ironclad_assets.upkeep.upgrades import export_ledger
from tests.chaos.writers import State, Writer, prepare_job, settings_of, store_of

STONES = [
    Tombstone(digest_of("song", name), "song", f"2026-01-0{day}T00:00:00.000Z", f"r-{day}")
    for day, name in enumerate(("a", "b", "c"), start=1)
]
EMPTY_HOME = "machine"
"""Folder below the writer's own in which the other machine is, the one that is restored to."""


def export(folder: Path) -> None:
    ledger = Ledger(settings_of(folder).ledger_url)
    export_ledger(ledger, folder / "ledger.jsonl")
    ledger.close()


def read_export(folder: Path) -> State:
    """A dump ends with how many rows it has."""
    file = folder / "ledger.jsonl"
    return json.loads(file.read_text(encoding="utf-8").splitlines()[-1])["end"]["songs"] if file.exists() else None


def backup(folder: Path) -> None:
    create_backup(settings_of(folder), wish=BackupWish(), actor="test")


def read_backups(folder: Path) -> State:
    """Every backup that is listed is whole; a second try after a kill may make a second one."""
    repository = Repository(backup_folder(settings_of(folder)))
    for one in repository.ids():
        assert verify_backup(repository, one).whole, one
    return bool(repository.ids())


def prepare_restore(folder: Path) -> None:
    prepare_job(folder)
    backup(folder)


def restore(folder: Path) -> None:
    target = settings_of(folder / EMPTY_HOME)
    if read_restored(folder):
        return
    repository = Repository(backup_folder(settings_of(folder)))
    wish = RestoreWish(repository=repository, backup=repository.ids()[-1])
    restore_backup(target, wish=wish, actor="test")


def read_restored(folder: Path) -> State:
    """A store without a sentinel, or a home with a journal, is used by nobody; else everything must be there."""
    settings, store = settings_of(folder / EMPTY_HOME), store_of(folder / EMPTY_HOME)
    if (settings.home_dir / JOURNAL).exists() or not store.sentinel.exists():
        return False
    ledger = Ledger(settings.ledger_url)
    songs = [ledger.song(job.song) for job in ledger.jobs()]
    ledger.close()
    assert songs, "the ledger is not there"
    for song in songs:
        assert hashlib.sha256(store.path(song.archive_path).read_bytes()).hexdigest() == song.sha256
    return True


def _stones(folder: Path) -> Path:
    return folder / "tombstones.jsonl"


def prepare_stones(folder: Path) -> None:
    merge_file(_stones(folder), stones=STONES[:1])


def bury(folder: Path) -> None:
    merge_file(_stones(folder), stones=STONES)


def read_stones(folder: Path) -> State:
    found = read_file(_stones(folder))
    assert len(found) == len(_stones(folder).read_text(encoding="utf-8").splitlines()), "a line is torn"
    assert found[0] in STONES
    return len(found)


COPY_WRITERS = {
    "export": Writer(prepare_job, export, read_export),
    "backup": Writer(prepare_job, backup, read_backups),
    "restore": Writer(prepare_restore, restore, read_restored),
    "tombstones": Writer(prepare_stones, bury, read_stones),
}
"""Writers by the name of what they write."""
