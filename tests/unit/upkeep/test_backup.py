"""Backups of an installation with a few songs: what goes in, once, while things change; what is removed."""

import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.library_entry import LibraryEntry
from ironclad_assets.errors import ErrorCode, IroncladError
from ironclad_assets.settings import Settings
from ironclad_assets.storage import atomic
from ironclad_assets.upkeep.backup import sources as backup_sources
from ironclad_assets.upkeep.backup.create import BackupWish, Made, choose_expired, create_backup, new_id
from ironclad_assets.upkeep.backup.objects import ObjectWriter
from ironclad_assets.upkeep.backup.repository import INCOMING, Repository
from ironclad_assets.upkeep.backup.verify import verify_backup
from tests.unit.upkeep.backups import contents_of, make
from tests.unit.upkeep.installations import Installed, tree


def paths(made: Made) -> set[str]:
    return {f"{one.place}/{one.path}" for one in contents_of(made).files}


def test_backup_holds_what_cannot_be_made_again(installed: Installed, folder: Path) -> None:
    """SUPPORT-001: ledger, Dagster's databases, originals, sidecars, quarantine, what is known of each song."""
    job = installed.add_song(1)
    installed.complete_song(job)
    for name in ("sidecars/s1/lyrics.txt", "error/s1/error.json", "error/s1/original", "error/stranger/error.json"):
        atomic.make_folder(installed.store.path(name).parent)
        atomic.write_bytes(installed.store.path(name), name.encode())
    with closing(sqlite3.connect(installed.settings.home_dir / "lookup.db")) as connection:
        connection.execute("CREATE TABLE turns (host TEXT)")
    made = make(installed, folder)
    found = paths(made)
    song = installed.ledger.song("s1")
    entry = next(path for path in found if path.endswith("metadata.json"))
    assert found == {
        "ledger/ledger.jsonl",
        "dagster/history/runs.db",
        "dagster/history/runs/index.db",
        "dagster/schedules/schedules.db",
        "home/lookup.db",
        f"store/{song.archive_path}",
        "store/sidecars/s1/lyrics.txt",
        "store/error/s1/error.json",
        "store/error/s1/original",
        "store/stages/library_entry/s1/manifest.json",
        entry,
        "store/stages/stems/s1/manifest.json",
    }
    assert made.manifest.songs == 1
    assert made.warnings == ()


def test_library_and_stages_are_in_on_request(installed: Installed, folder: Path) -> None:
    installed.complete_song(installed.add_song(1))
    found = paths(make(installed, folder, extras=("library", "stages")))
    assert "store/output/Artist/s1/01 - Title.flac" in found
    assert any(path.endswith("vocals.raw") for path in found)


def test_settings_are_in_without_secrets(installed: Installed, folder: Path) -> None:
    given = installed.settings.model_dump(exclude_unset=True)
    secret = Settings(**given, refresh_plex_token="hunter2", lookup_acoustid_key="hunter2")
    made = create_backup(secret, wish=BackupWish(folder=folder), actor="me")
    shown = json.dumps(contents_of(made).settings)
    assert "hunter2" not in shown
    assert contents_of(made).settings["default_engine"] == "spectral"
    url = backup_sources.public_settings(Settings(database_url="postgresql+psycopg2://me:hunter2@db/x"))
    assert "hunter2" not in json.dumps(url)


def test_what_is_there_already_is_not_copied_again(installed: Installed, folder: Path) -> None:
    installed.add_song(1, content=b"x" * 1_000_000)
    first = make(installed, folder)
    installed.add_song(2, content=b"y" * 1000)
    second = make(installed, folder)
    assert first.copied_bytes > 1_000_000
    assert second.copied_bytes < 100_000
    assert verify_backup(Repository(folder), second.manifest.id).whole


def test_copy_of_dagsters_databases_is_whole_while_they_are_written(installed: Installed, folder: Path) -> None:
    """Promise 18: taken under load."""
    database = installed.settings.dagster_home / "history" / "runs.db"
    ended = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(database, timeout=30)) as connection:
            while not ended.is_set():
                connection.executemany("INSERT INTO things VALUES (?)", [("a",), ("b",)])
                connection.commit()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        made = make(installed, folder)
    finally:
        ended.set()
        thread.join()
    (one,) = (one for one in contents_of(made).files if one.path == "history/runs.db")
    copy = Repository(folder).object_file(one.object)
    with closing(sqlite3.connect(f"file:{copy}?mode=ro&immutable=1", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) % 2 FROM things").fetchone() == (1,)


def test_artifact_that_is_replaced_meanwhile_goes_in_whole(installed: Installed, folder: Path, monkeypatch) -> None:
    """Promise 18: a manifest and its files are of one time."""
    job = installed.add_song(1)
    installed.complete_song(job)
    entry = LibraryEntry.model_validate({"files": []})
    original, replaced = ObjectWriter.add, []

    def replace_once(self: ObjectWriter, source: Path, **options: object) -> object:
        if source.name == "metadata.json" and not replaced:
            replaced.append(source)
            installed.add_artifact(job, "library_entry", name="metadata.json", payload=entry, key="f" * 64)
        return original(self, source, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ObjectWriter, "add", replace_once)
    made = make(installed, folder)
    assert replaced
    assert made.warnings == ()
    assert "store/stages/library_entry/s1/ffffffffffffffff/metadata.json" in paths(made)
    assert len([path for path in paths(made) if "metadata.json" in path]) == 1


def test_song_deleted_meanwhile_is_left_out_and_said(installed: Installed, folder: Path, monkeypatch) -> None:
    """Promise 16: the ledger was copied before the deletion, the files after it."""
    job = installed.add_song(1)
    path = installed.store.path(installed.ledger.song("s1").archive_path)

    def delete(*_: object, **__: object) -> None:
        installed.ledger.deletions.request_song(job.song, actor="me")
        path.unlink()

    monkeypatch.setattr("ironclad_assets.upkeep.backup.create.collect_home", delete)
    made = make(installed, folder)
    assert made.warnings == ()
    assert contents_of(made).gone == ("s1",)
    assert verify_backup(Repository(folder), made.manifest.id).whole


def test_backup_that_fails_leaves_nothing_but_what_the_next_sweeps(installed: Installed, folder: Path, monkeypatch):
    """Nothing partial is ever visible."""
    installed.add_song(1)
    with monkeypatch.context() as patch:
        patch.setattr(Repository, "publish", lambda self, manifest: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(OSError, match="full"):
            make(installed, folder)
    repository = Repository(folder)
    assert repository.ids() == []
    (folder / f"{INCOMING}dead").mkdir()
    (folder / "snapshots" / "20260101t000000000000z").mkdir()
    made = make(installed, folder)
    assert repository.ids() == [made.manifest.id]
    assert not list(folder.glob(f"{INCOMING}*"))
    assert [path.name for path in (folder / "snapshots").iterdir()] == [made.manifest.id]
    assert not list((installed.settings.home_dir / "run").glob("backup-*"))


def test_second_backup_at_once_is_told_that_another_is_at_it(installed: Installed, folder: Path) -> None:
    repository = Repository(folder)
    repository.create()
    with repository.writing(), pytest.raises(IroncladError) as caught:
        make(installed, folder)
    assert caught.value.code is ErrorCode.BUSY
    with repository.reading(), pytest.raises(IroncladError) as caught, repository.removing():
        pass
    assert caught.value.code is ErrorCode.BUSY
    with repository.reading():
        make(installed, folder)


def test_disk_below_its_reserve_refuses_and_keeps_what_was_there(installed: Installed, folder: Path) -> None:
    installed.add_song(1)
    before = make(installed, folder)
    poor = installed.settings.model_copy(update={"disk_reserve_bytes": 10**18})
    installed.add_song(2)
    with pytest.raises(IroncladError) as caught:
        create_backup(poor, wish=BackupWish(folder=folder), actor="me")
    assert caught.value.code is ErrorCode.STORAGE_FULL
    assert Repository(folder).ids() == [before.manifest.id]


def test_store_that_is_away_is_not_taken_for_an_empty_one(installed: Installed, folder: Path) -> None:
    """Promise 14."""
    installed.store.sentinel.unlink()
    with pytest.raises(IroncladError) as caught:
        make(installed, folder)
    assert caught.value.code is ErrorCode.STORAGE_AWAY


def test_removing_frees_what_no_other_backup_needs(installed: Installed, folder: Path) -> None:
    installed.add_song(1)
    first, repository = make(installed, folder), Repository(folder)
    installed.add_song(2)
    second = make(installed, folder)
    before = tree(folder / "objects")
    with repository.removing():
        freed = repository.remove([first.manifest.id])
    assert freed > 0
    assert len(tree(folder / "objects")) < len(before)
    assert verify_backup(repository, second.manifest.id).whole
    with pytest.raises(IroncladError) as caught:
        repository.find(first.manifest.id)
    assert caught.value.code is ErrorCode.UNKNOWN_BACKUP


def test_no_object_is_removed_while_a_manifest_cannot_be_read(installed: Installed, folder: Path) -> None:
    first, repository = make(installed, folder), Repository(folder)
    second = make(installed, folder)
    repository.manifest_file(second.manifest.id).write_bytes(b"{")
    before = tree(folder / "objects")
    with repository.removing():
        assert repository.remove([first.manifest.id]) == 0
    assert tree(folder / "objects") == before


def test_a_schedule_lets_go_of_no_backup_that_was_made_by_hand(installed: Installed, folder: Path) -> None:
    """docs/deleting.md: it stays until it is removed by hand, and does not count among those that are kept."""
    by_hand = make(installed, folder, by_hand=True).manifest.id
    nights = [make(installed, folder).manifest.id for _ in range(3)]
    repository = Repository(folder)
    assert choose_expired(repository, keep=2, keep_days=None, scheduled={by_hand, *nights}) == nights[:1]
    assert choose_expired(repository, keep=2, keep_days=None) == [by_hand, nights[0]]


def test_rules_keep_the_newest_in_any_case(folder: Path) -> None:
    repository = Repository(folder)
    names = ["20250101t000000000000z", "20250102t000000000000z", new_id()]
    for name in names:
        (folder / "snapshots" / name).mkdir(parents=True)
        (folder / "snapshots" / name / "manifest.json").touch()
    assert choose_expired(repository, keep=1, keep_days=None) == names[:2]
    assert choose_expired(repository, keep=2, keep_days=None) == names[:1]
    assert choose_expired(repository, keep=None, keep_days=1) == names[:2]
    assert choose_expired(repository, keep=None, keep_days=0) == names[:2]
    assert choose_expired(repository, keep=2, keep_days=10_000) == []


def test_ids_follow_each_other_whatever_the_clock_says() -> None:
    """Promise 17: a clock that was ahead for a while makes no backup the oldest."""
    assert new_id(["20990101t000000000000z"]) == "20990101t000000000001z"


def test_database_is_copied_while_somebody_writes_to_it_all_the_time(tmp_path: Path) -> None:
    """Promise 18: while everything runs, also where there is a write between any two steps of the copy."""
    source, copy, done = tmp_path / "runs.db", tmp_path / "copy.db", threading.Event()
    with closing(sqlite3.connect(source)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE events (body BLOB)")
        connection.executemany("INSERT INTO events VALUES (?)", [(bytes(1_000_000),)] * 60)
        connection.commit()
    ended_by_itself = []

    def write() -> None:
        with closing(sqlite3.connect(source, timeout=30.0)) as writer:
            for _ in range(2000):
                writer.execute("INSERT INTO events VALUES (?)", (b"later",))
                writer.commit()
                if done.wait(0.001):
                    return
        ended_by_itself.append(True)

    thread = threading.Thread(target=write)
    thread.start()
    backup_sources.copy_database(source, copy)
    done.set()
    thread.join()
    assert not ended_by_itself, "the copy waited for the end of all writing"
    with closing(sqlite3.connect(copy)) as reader:
        assert reader.execute("SELECT count(*) FROM events WHERE length(body) = 1000000").fetchone() == (60,)
        assert reader.execute("PRAGMA integrity_check").fetchone() == ("ok",)
