"""Backups where something is lost: it is named, what can be saved is saved, and what an earlier backup has stays."""

import errno
import json
import os
from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.base import FileRecord
from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.contracts.v1.library_entry import EntryFile, LibraryEntry
from ironclad_assets.errors import ErrorCode, IroncladError
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.sensors.backup import perform_backup
from ironclad_assets.settings import Settings
from ironclad_assets.storage import atomic
from ironclad_assets.storage.hashing import hash_file
from ironclad_assets.storage.notes import note_of
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.backup.objects import ObjectWriter
from ironclad_assets.upkeep.backup.repository import Repository
from ironclad_assets.upkeep.backup.restore import RestoreWish, restore_backup
from ironclad_assets.upkeep.backup.verify import verify_backup
from ironclad_assets.upkeep.erase import tombstones
from tests.unit.upkeep.backups import bring_back, contents_of, let_disk_fail, make, paths
from tests.unit.upkeep.installations import Installed, tree


def original_of(installed: Installed, song: str) -> Path:
    return installed.store.path(installed.ledger.song(song).archive_path)


def harm_file(path: Path, *, harm: str, monkeypatch) -> None:
    """Lose a file, or let its disk fail in the middle of it."""
    if harm == "unreadable":
        let_disk_fail(path, monkeypatch=monkeypatch)
        return
    content = path.read_bytes()
    path.unlink()
    if harm != "missing":
        atomic.write_bytes(path, b"z" * len(content) if harm == "damaged" else content[:-1])


@pytest.mark.parametrize("links", [True, False], ids=["linked", "copied"])
@pytest.mark.parametrize("harm", ["missing", "damaged", "cut off", "unreadable"])
def test_original_that_the_store_lost_is_told_and_the_rest_is_saved(
    installed: Installed, folder: Path, harm: str, links: bool, monkeypatch
) -> None:
    """Promise 18: a disk that begins to fail is when a backup is needed."""
    if not links:
        monkeypatch.setattr(ObjectWriter, "_link", lambda *_: False)
    installed.complete_song(installed.add_song(1))
    installed.add_song(2)
    harm_file(original_of(installed, "s1"), harm=harm, monkeypatch=monkeypatch)
    made = make(installed, folder)
    assert [line for line in made.warnings if "the original of s1" in line]
    assert made.lacking == contents_of(made).missing == ("s1",)
    assert installed.ledger.song("s2").archive_path in paths(made)
    assert "output/Artist/s1/01 - Title.flac" in paths(made), "nothing makes it again"
    assert verify_backup(Repository(folder), made.manifest.id).whole


def test_encrypted_backup_goes_on_past_a_file_that_cannot_be_read(
    installed: Installed, folder: Path, monkeypatch
) -> None:
    pyrage = pytest.importorskip("pyrage")
    recipient = str(pyrage.x25519.Identity.generate().to_public())
    installed.add_song(1)
    installed.add_song(2)
    let_disk_fail(original_of(installed, "s1"), monkeypatch=monkeypatch)
    made = make(installed, folder, recipients=(recipient,))
    assert made.lacking == ("s1",)
    assert (made.manifest.songs, made.manifest.warnings) == (2, 1)


@pytest.mark.parametrize("name", ["manifest.json", "metadata.json", "01 - Title.flac", "lyrics.txt"])
def test_file_that_cannot_be_read_is_left_out_and_named(
    installed: Installed, folder: Path, name: str, monkeypatch
) -> None:
    installed.complete_song(installed.add_song(1))
    sidecar = installed.store.path("sidecars/s1/lyrics.txt")
    atomic.make_folder(sidecar.parent)
    atomic.write_bytes(sidecar, b"la la")
    failing = next(path for path in sorted(installed.store.root.rglob(name)) if "stems" not in path.parts)
    let_disk_fail(failing, monkeypatch=monkeypatch)
    made = make(installed, folder, extras=("library",))
    assert [line for line in made.warnings if os.strerror(errno.EIO) in line]
    assert made.lacking == ()
    assert failing.relative_to(installed.store.root).as_posix() not in paths(made)
    assert installed.ledger.song("s1").archive_path in paths(made)
    assert verify_backup(Repository(folder), made.manifest.id).whole


def test_broken_database_of_dagster_keeps_nothing_else_out(installed: Installed, folder: Path) -> None:
    installed.add_song(1)
    (installed.settings.dagster_home / "schedules" / "schedules.db").write_bytes(b"no database at all" * 100)
    made = make(installed, folder)
    assert made.lacking == ("dagster/schedules/schedules.db",)
    assert installed.ledger.song("s1").archive_path in paths(made)
    assert {"history/runs.db", "history/runs/index.db"} <= paths(made)


@pytest.mark.parametrize("harm", ["missing", "damaged", "cut off"])
def test_original_that_the_store_lost_stays_as_an_earlier_backup_has_it(
    installed: Installed, target: Settings, folder: Path, harm: str, monkeypatch
) -> None:
    """Promise 18: not gone from the backups after as many nights as are kept."""
    installed.add_song(1)
    original = original_of(installed, "s1")
    content = original.read_bytes()
    settings = installed.settings.model_copy(update={"backup_path": folder, "backup_keep": 1})
    perform_backup(settings)
    harm_file(original, harm=harm, monkeypatch=monkeypatch)
    for _ in range(3):
        figures = perform_backup(settings)
        told = ["an earlier backup" in line for line in figures["warnings"]]
        assert told == ([] if harm == "damaged" else [True]), "what has its size is read by `verify`, not every night"
    repository = Repository(folder)
    assert len(repository.ids()) == 1
    wish = RestoreWish(repository=repository, backup=repository.find(None))
    restore_backup(target, wish=wish, actor="me")
    assert (target.store_root / original.relative_to(installed.store.root)).read_bytes() == content


def test_object_that_is_damaged_too_is_not_taken_for_the_original(installed: Installed, folder: Path) -> None:
    installed.add_song(1)
    first = make(installed, folder)
    original = original_of(installed, "s1")
    stored = Repository(folder).object_file(installed.ledger.song("s1").sha256)
    size = original.stat().st_size
    original.unlink()
    stored.unlink()
    atomic.write_bytes(stored, b"z" * size)
    made = make(installed, folder)
    assert (first.lacking, made.lacking) == ((), ("s1",))


def test_schedule_that_lacks_an_original_fails_and_removes_no_older_backup(installed: Installed, folder: Path) -> None:
    settings = installed.settings.model_copy(update={"backup_path": folder, "backup_keep": 1})
    installed.add_song(1)
    perform_backup(settings)
    installed.add_song(2)
    original_of(installed, "s2").unlink()
    for count in (2, 3):
        with pytest.raises(IroncladError, match="s2") as caught:
            perform_backup(settings)
        assert caught.value.code is ErrorCode.BACKUP_INCOMPLETE
        assert len(Repository(folder).ids()) == count
    installed.ledger.deletions.request_song("s2", actor="me")
    perform_backup(settings)
    assert len(Repository(folder).ids()) == 1


def prune_original(installed: Installed, song: str) -> Path:
    """Do to an original what a sweep does once it is older than its limit."""
    original = original_of(installed, song)
    atomic.write_bytes(note_of(original), b"{}")
    original.unlink()
    return original


def test_song_whose_original_was_older_than_its_limit_comes_back_from_the_library(
    installed: Installed, target: Settings, folder: Path
) -> None:
    """GLOBAL-003: what cannot be made again is in every backup."""
    installed.complete_song(installed.add_song(1))
    make(installed, folder)
    original = prune_original(installed, "s1")
    made = make(installed, folder)
    contents = contents_of(made)
    assert (made.warnings, made.lacking, contents.pruned, contents.missing) == ((), (), ("s1",), ())
    assert original.relative_to(installed.store.root).as_posix() not in paths(made), "its time was over"
    assert verify_backup(Repository(folder), made.manifest.id).whole
    restored = bring_back(made, target)
    assert (restored.rebuilt, restored.warnings) == (0, [])
    store, ledger = Store(target.store_root, 1), Ledger(target.ledger_url)
    assert tree(store.path("output")) == tree(installed.store.path("output"))
    note = note_of(store.path(ledger.song("s1").archive_path))
    assert json.loads(note.read_bytes()) == {}
    assert note.stat().st_mode & 0o777 == 0o644
    ledger.close()


@pytest.mark.parametrize("harm", ["missing", "cut off"])
def test_library_file_that_nothing_makes_again_stays_as_an_earlier_backup_has_it(
    installed: Installed, target: Settings, folder: Path, harm: str, monkeypatch
) -> None:
    """Promise 18: it had gone from the backups after as many nights as are kept."""
    installed.complete_song(installed.add_song(1))
    prune_original(installed, "s1")
    delivered = next(installed.store.path("output").rglob("*.flac"))
    content = delivered.read_bytes()
    settings = installed.settings.model_copy(update={"backup_path": folder, "backup_keep": 1})
    perform_backup(settings)
    harm_file(delivered, harm=harm, monkeypatch=monkeypatch)
    for _ in range(2):
        figures = perform_backup(settings)
    assert [line for line in figures["warnings"] if line.endswith("and stays in as an earlier backup has it")]
    repository = Repository(folder)
    assert len(repository.ids()) == 1
    wish = RestoreWish(repository=repository, backup=repository.find(None))
    assert restore_backup(target, wish=wish, actor="me").rebuilt == 0
    assert (target.store_root / delivered.relative_to(installed.store.root)).read_bytes() == content


@pytest.mark.parametrize("harm", ["missing", "changed"])
def test_earlier_library_file_stays_without_being_read_again(
    installed: Installed, folder: Path, harm: str, monkeypatch
) -> None:
    """A tag editor may change every file there is; what the backups' disk does not give for a night is not given up."""
    installed.complete_song(installed.add_song(1))
    prune_original(installed, "s1")
    delivered = next(installed.store.path("output").rglob("*.flac"))
    kept = {one.path: one for one in contents_of(make(installed, folder)).files}[
        delivered.relative_to(installed.store.root).as_posix()
    ]
    delivered.write_bytes(b"with many other tags") if harm == "changed" else delivered.unlink()
    let_disk_fail(Repository(folder).object_file(kept.object), monkeypatch=monkeypatch)
    assert kept in contents_of(make(installed, folder)).files


def test_library_file_that_somebody_changed_is_in_where_nothing_makes_it_again(
    installed: Installed, target: Settings, folder: Path
) -> None:
    """What a tag editor wrote is the only copy of the song."""
    installed.complete_song(installed.add_song(1))
    prune_original(installed, "s1")
    delivered = next(installed.store.path("output").rglob("*.flac"))
    delivered.write_bytes(b"with other tags")
    made = make(installed, folder)
    assert [line for line in made.warnings if line.endswith("and goes in as it is now")]
    assert verify_backup(Repository(folder), made.manifest.id).whole
    bring_back(made, target)
    assert (target.store_root / delivered.relative_to(installed.store.root)).read_bytes() == b"with other tags"


def test_cover_that_another_song_of_the_album_brought_is_in_as_it_is(installed: Installed, folder: Path) -> None:
    """An earlier one would come back over it."""
    job = installed.complete_song(installed.add_song(1))
    cover = installed.store.path("output/Artist/s1/cover.jpg")
    atomic.write_bytes(cover, b"before")
    record = FileRecord(path="Artist/s1/cover.jpg", size_bytes=6, sha256=hash_file(cover))
    entry = LibraryEntry(files=(EntryFile(role="cover", name="cover", root="output", file=record),))
    installed.add_artifact(job, "library_entry", name="metadata.json", payload=entry, key="f" * 64)
    prune_original(installed, "s1")
    make(installed, folder)
    atomic.write_bytes(cover, b"of another song")
    files = {one.path: one.sha256 for one in contents_of(make(installed, folder)).files}
    assert files["output/Artist/s1/cover.jpg"] == hash_file(cover)


@pytest.mark.parametrize("place", ["elsewhere", "pipe"])
def test_what_lies_in_a_library_files_place_and_is_none_is_left_out(
    installed: Installed, folder: Path, place: str
) -> None:
    """Neither what a link leads to gets into a backup, nor does one wait for a writer that never comes."""
    installed.complete_song(installed.add_song(1))
    prune_original(installed, "s1")
    delivered = next(installed.store.path("output").rglob("*.flac"))
    delivered.unlink()
    if place == "pipe":
        os.mkfifo(delivered)
    else:
        delivered.symlink_to(installed.settings.home_dir / "ledger.db")
    made = make(installed, folder)
    assert [line for line in made.warnings if delivered.name in line and line.endswith("and is left out")]
    assert delivered.relative_to(installed.store.root).as_posix() not in paths(made)


def test_entry_that_cannot_be_read_keeps_older_backups_where_nothing_makes_the_song_again(
    installed: Installed, folder: Path
) -> None:
    """They may have what it names in the library."""
    installed.complete_song(installed.add_song(1))
    prune_original(installed, "s1")
    settings = installed.settings.model_copy(update={"backup_path": folder, "backup_keep": 1})
    perform_backup(settings)
    installed.store.stage("library_entry", "s1").manifest.write_bytes(b"{")
    with pytest.raises(IroncladError, match="s1") as caught:
        perform_backup(settings)
    assert caught.value.code is ErrorCode.BACKUP_INCOMPLETE
    assert len(Repository(folder).ids()) == 2


def test_file_of_an_entry_that_cannot_be_read_keeps_no_library_file_out(
    installed: Installed, folder: Path, monkeypatch
) -> None:
    installed.complete_song(installed.add_song(1))
    prune_original(installed, "s1")
    let_disk_fail(next(installed.store.path("stages/library_entry").rglob("metadata.json")), monkeypatch=monkeypatch)
    assert "output/Artist/s1/01 - Title.flac" in paths(make(installed, folder))


def test_song_that_nothing_can_make_again_is_told_and_not_queued(
    installed: Installed, target: Settings, folder: Path
) -> None:
    installed.complete_song(installed.add_song(1))
    prune_original(installed, "s1")
    next(installed.store.path("output").rglob("*.flac")).unlink()
    made = make(installed, folder)
    restored = bring_back(made, target)
    assert restored.rebuilt == 0
    assert [line for line in restored.warnings if "s1 is not whole in the library" in line]
    ledger = Ledger(target.ledger_url)
    latest = ledger.latest_job("s1")
    assert latest is not None
    assert (latest.state, latest.attempt) == (JobState.COMPLETED, 1)
    ledger.close()


def test_list_of_deletions_that_cannot_be_written_is_told_and_the_backup_is_there(
    installed: Installed, folder: Path
) -> None:
    """Promise 16: whoever restores would bring back what was deleted."""
    installed.add_song(1)
    (folder / tombstones.FILE_NAME).mkdir(parents=True)
    installed.ledger.deletions.request_song("s1", actor="me")
    made = make(installed, folder)
    assert made.lacking == (tombstones.FILE_NAME,)
    assert "would bring it back" in made.warnings[0]
    assert verify_backup(Repository(folder), made.manifest.id).whole
