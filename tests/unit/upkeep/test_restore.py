"""Restoring: everything comes back into what is empty, nothing is overwritten, what was deleted stays deleted."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
from filelock import FileLock

from ironclad_assets.contracts.v1.job import JobError, JobState
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import ErrorCode, IroncladError
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.pipeline.ownership import read_mark
from ironclad_assets.sensors.prepare import prepare_store
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.backup.create import BackupWish, Made, create_backup
from ironclad_assets.upkeep.backup.journal import JOURNAL, require_no_restore
from ironclad_assets.upkeep.backup.places import known_folders
from ironclad_assets.upkeep.backup.repository import Repository
from ironclad_assets.upkeep.backup.restore import (
    Part,
    Restored,
    RestoreWish,
    restore_backup,
)
from ironclad_assets.upkeep.backup.restored_files import inside
from ironclad_assets.upkeep.backup.seal import make_identity, read_identities
from ironclad_assets.upkeep.erase import tombstones
from ironclad_assets.upkeep.recount import recount
from tests.unit.upkeep.installations import Installed, tree

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "1"))


def back_up(installed: Installed, **wish: object) -> Made:
    folder = installed.settings.home.parent / "backups"
    return create_backup(installed.settings, wish=BackupWish(folder=folder, **wish), actor="me")  # type: ignore[arg-type]


def bring_back(made: Made, settings: Settings, **wish: object) -> Restored:
    chosen = RestoreWish(repository=Repository(made.folder), backup=made.manifest.id, **wish)  # type: ignore[arg-type]
    return restore_backup(settings, wish=chosen, actor="me")


def test_rows_and_files_come_back_the_same(installed: Installed, target: Settings) -> None:
    """GLOBAL-003, promise 18: all hashes equal, rows and files match both ways."""
    for number in (1, 2):
        installed.complete_song(installed.add_song(number))
    installed.add_song(3, user_id="bob")
    history = {job.song: installed.ledger.history(job.job_uuid) for job in installed.ledger.jobs()}
    jobs = {job.song: job for job in installed.ledger.jobs()}
    made = back_up(installed, extras=("library", "stages"))
    restored = bring_back(made, target)
    assert (restored.songs, restored.rebuilt, restored.requeued, restored.warnings) == (3, 0, 0, [])
    ledger, store = Ledger(target.ledger_url), Store(target.store_root, 1)
    assert {job.song: job for job in ledger.jobs()} == jobs
    assert {job.song: ledger.history(job.job_uuid) for job in ledger.jobs()} == history
    for folder in ("archive", "output", "stages"):
        assert tree(store.path(folder)) == tree(installed.store.path(folder))
    for job in ledger.jobs():
        assert store.path(ledger.song(job.song).archive_path).is_file()
    (delivered,) = store.path("output/Artist/s1").iterdir()
    assert read_mark(delivered) in ("s1", None)
    assert store.path(ledger.song("s1").archive_path).stat().st_mode & 0o777 == 0o444
    for name in ("history/runs.db", "schedules/schedules.db"):
        with closing(sqlite3.connect(target.dagster_home / name)) as connection:
            assert connection.execute("SELECT name FROM things").fetchall() == [(name,)]
    store.require_ready()
    assert store.sentinel.read_text() != installed.store.sentinel.read_text(), "a copy of a store is another store"
    assert not (target.home_dir / JOURNAL).exists()
    ledger.close()


def test_complete_songs_without_library_files_are_queued_to_be_made_again(
    installed: Installed, target: Settings
) -> None:
    installed.complete_song(installed.add_song(1))
    installed.add_song(2)
    made = back_up(installed)
    assert bring_back(made, target).rebuilt == 1
    ledger = Ledger(target.ledger_url)
    latest = ledger.latest_job("s1")
    assert latest is not None
    assert (latest.state, latest.attempt) == (JobState.QUEUED, 2)
    assert not (target.store_root / "stages" / "stems").exists(), "a manifest without its files is none"
    assert (target.store_root / "stages" / "library_entry" / "s1" / "manifest.json").is_file()
    ledger.close()
    other = Settings(home=target.home.parent / "third", disk_reserve_bytes=1)
    assert bring_back(made, other, rebuild=False).rebuilt == 0


@pytest.mark.parametrize("parts", [("home", "store"), ("home",), ("store",)], ids="-".join)
def test_users_are_charged_for_what_came_back_alone(
    installed: Installed, target: Settings, tmp_path: Path, parts: tuple[Part, ...]
) -> None:
    """Stages that are not in the backup had stayed counted: for the quota, and as findings of every `verify`."""
    installed.complete_song(installed.add_song(1))
    recount(installed.ledger, store=installed.store)
    before = installed.ledger.usage.stored("s1")
    made = back_up(installed, extras=("library",))
    here = installed.settings
    places = {
        ("home", "store"): target,
        ("home",): Settings(home=target.home, data=here.store_root, disk_reserve_bytes=1),
        ("store",): Settings(home=here.home, data=tmp_path / "disk", disk_reserve_bytes=1),
    }
    if parts == ("home",):
        installed.store.stage("stems", "s1").manifest.unlink()  # since the backup
    bring_back(made, places[parts], parts=parts, rebuild=False)
    ledger, store = Ledger(places[parts].ledger_url), Store(places[parts].store_root, 1)
    after = ledger.usage.stored("s1")
    assert after == {stage: size for stage, size in before.items() if stage != "stems"} != before
    assert ledger.usage.of("ada").stored_bytes == sum(after.values())
    assert recount(ledger, store=store) == 0
    ledger.close()


@pytest.mark.parametrize("end", ["failed", "canceled"])
def test_song_whose_later_attempt_came_to_nothing_is_made_again(
    installed: Installed, target: Settings, end: str
) -> None:
    """It was in the library, by the attempt before; a failure had kept it from ever coming back."""
    first = installed.complete_song(installed.add_song(1))
    again = installed.ledger.retry(first.job_uuid, actor="me", options=JobOptions(engine="other"))
    if end == "failed":
        installed.run_song(again)
        installed.ledger.fail(again.job_uuid, JobError(code="engine_failed", detail="", remedy=""), actor="me")
    else:
        installed.ledger.request_cancel(again.job_uuid, actor="me")
    assert bring_back(back_up(installed), target).rebuilt == 1
    ledger = Ledger(target.ledger_url)
    latest = ledger.latest_job("s1")
    assert latest is not None
    assert (latest.state, latest.attempt, latest.options) == (JobState.QUEUED, 3, first.options)
    assert ledger.job(again.job_uuid).state == end, "what failed stays failed"
    ledger.close()


def test_jobs_that_were_running_wait_again(installed: Installed, target: Settings) -> None:
    """Promise 5: nothing is stuck on a machine that is gone."""
    job = installed.run_song(installed.add_song(1))
    made = back_up(installed)
    assert bring_back(made, target).requeued == 1
    ledger = Ledger(target.ledger_url)
    again = ledger.job(job.job_uuid)
    assert (again.state, again.attempt, again.crashes) == (JobState.QUEUED, 2, 0)
    ledger.close()


def test_what_was_deleted_since_the_backup_does_not_stay(installed: Installed, target: Settings) -> None:
    """Promise 16: a restore re-applies the deletion list, here that of the backups' folder."""
    deleted, kept = installed.add_song(1), installed.add_song(2)
    made = back_up(installed)
    archived = installed.ledger.song(deleted.song).archive_path
    receipt = installed.ledger.deletions.request_song(deleted.song, actor="me").receipt
    tombstones.merge_file(made.folder / tombstones.FILE_NAME, stones=installed.ledger.deletions.tombstones())
    assert bring_back(made, target).deleted_again == 1
    ledger = Ledger(target.ledger_url)
    assert not (target.store_root / archived).exists()
    assert [one.receipt for one in ledger.deletions.open()] == [receipt]
    assert ledger.job(kept.job_uuid).state is JobState.QUEUED
    assert ledger.job(deleted.job_uuid).state is JobState.CANCELED
    ledger.close()


def test_original_that_another_user_still_has_comes_back(installed: Installed, target: Settings) -> None:
    installed.add_song(1, content=b"the same bytes")
    installed.add_song(2, user_id="bob", content=b"the same bytes")
    made = back_up(installed)
    installed.ledger.deletions.request_song("s1", actor="me")
    tombstones.merge_file(made.folder / tombstones.FILE_NAME, stones=installed.ledger.deletions.tombstones())
    bring_back(made, target)
    ledger = Ledger(target.ledger_url)
    assert (target.store_root / ledger.song("s2").archive_path).read_bytes() == b"the same bytes"
    ledger.close()


@pytest.mark.parametrize("used", ["ledger.db", "pipeline-data/archive/x", "dagster/a.db", "anything"])
def test_nothing_is_overwritten(installed: Installed, target: Settings, used: str) -> None:
    installed.add_song(1)
    made = back_up(installed)
    (target.home_dir / used).parent.mkdir(parents=True, exist_ok=True)
    (target.home_dir / used).write_bytes(b"mine")
    with pytest.raises(IroncladError) as caught:
        bring_back(made, target)
    assert caught.value.code is ErrorCode.HOME_IN_USE
    assert [path.read_bytes() for path in target.home_dir.rglob("*") if path.is_file() and path.suffix != ".lock"] == [
        b"mine"
    ]


def test_folder_that_was_never_finished_is_in_nobodys_way(installed: Installed, target: Settings) -> None:
    made = back_up(installed)
    left = target.store_root / ".0123.part" / "inner"
    kept = target.store_root / "backups" / ".4567.part"
    for folder in (left, kept):
        folder.mkdir(parents=True)
    bring_back(made, target)
    assert (left.parent.exists(), kept.exists()) == (False, True)


def test_engines_and_models_may_be_there_and_a_second_restore_is_refused(
    installed: Installed, target: Settings
) -> None:
    installed.add_song(1)
    made = back_up(installed)
    (target.home_dir / "models").mkdir(parents=True)
    (target.home_dir / "models" / "weights").write_bytes(b"w")
    assert bring_back(made, target).songs == 1
    with pytest.raises(IroncladError) as caught:
        bring_back(made, target)
    assert caught.value.code is ErrorCode.HOME_IN_USE


def test_running_system_is_not_restored_into(installed: Installed, target: Settings) -> None:
    made = back_up(installed)
    (target.home_dir / "run").mkdir(parents=True)
    with FileLock(target.home_dir / "run" / "supervisor.lock"), pytest.raises(IroncladError) as caught:
        bring_back(made, target)
    assert caught.value.code is ErrorCode.ALREADY_RUNNING


def test_changed_byte_stops_the_restore_before_ledger_and_store_can_be_used(
    installed: Installed, target: Settings
) -> None:
    """Promise 18: checked before anything is made visible."""
    installed.add_song(1)
    made = back_up(installed)
    sha256 = installed.ledger.song("s1").sha256
    path = Repository(made.folder).object_file(sha256)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(b"X" + content[1:])
    with pytest.raises(IroncladError) as caught:
        bring_back(made, target)
    assert caught.value.code is ErrorCode.BACKUP_DAMAGED
    assert not (target.home_dir / "ledger.db").exists()
    assert not (target.store_root / ".store-id").exists()
    assert not list(target.store_root.rglob("*.part"))
    with pytest.raises(IroncladError) as caught:
        require_no_restore(target)
    assert caught.value.code is ErrorCode.HOME_IN_USE
    path.write_bytes(content)
    assert bring_back(made, target).songs == 1
    require_no_restore(target)


def test_encrypted_backup_comes_back_with_its_key_alone(installed: Installed, target: Settings, tmp_path: Path) -> None:
    installed.complete_song(installed.add_song(1))
    public = make_identity(tmp_path / "key")
    made = back_up(installed, recipients=[public])
    with pytest.raises(IroncladError) as caught:
        bring_back(made, target)
    assert caught.value.code is ErrorCode.BACKUP_LOCKED
    keys = read_identities(tmp_path / "key", passphrase=None, sealed=None)
    assert bring_back(made, target, identities=keys).songs == 1
    assert tree(target.store_root / "archive") == tree(installed.store.archive)
    wish = BackupWish(folder=made.folder, recipients=[public])
    again = create_backup(target, wish=wish, actor="me")
    originals = {one.name for one in made.manifest.objects} & {one.name for one in again.manifest.objects}
    assert originals, "the restored machine goes on with the same objects"


def test_lost_database_comes_back_beside_a_store_that_is_there(installed: Installed, target: Settings) -> None:
    installed.complete_song(installed.add_song(1))
    made = back_up(installed)
    moved = Settings(home=target.home, data=installed.settings.store_root, disk_reserve_bytes=1)
    before = tree(installed.store.root)
    restored = bring_back(made, moved, parts=("home",))
    assert (restored.songs, restored.rebuilt) == (1, 0)
    after = tree(installed.store.root)
    assert {name: after[name] for name in before if name in after} == before
    assert set(after) - set(before) <= {"backups/tombstones.jsonl", "backups/.tombstones.jsonl.lock"}


def test_lost_database_comes_back_into_the_home_that_lost_it(installed: Installed) -> None:
    """As docs/operations.md has it: `ledger.db` and `dagster/` moved out, all else as the system left it."""
    settings, home = installed.settings, installed.settings.home_dir
    installed.complete_song(installed.add_song(1))
    with closing(sqlite3.connect(home / "lookup.db")) as connection:
        connection.execute("CREATE TABLE answers (name TEXT)")
    assert prepare_store(settings) == ""
    made = back_up(installed)
    with closing(sqlite3.connect(home / "lookup.db")) as connection:
        connection.execute("INSERT INTO answers VALUES ('newer')")
        connection.commit()
    installed.ledger.close()
    for path in (*home.glob("ledger.db*"), settings.dagster_home):
        path.rename(home.parent / path.name)
    restored = bring_back(made, settings, parts=("home",))
    assert (restored.songs, restored.rebuilt) == (1, 0)
    with closing(sqlite3.connect(home / "lookup.db")) as connection:
        assert connection.execute("SELECT name FROM answers").fetchall() == [("newer",)]
    assert prepare_store(settings) == ""
    assert known_folders(settings) == [made.folder]


def test_lost_store_comes_back_beside_a_ledger_that_is_there(installed: Installed, tmp_path: Path) -> None:
    installed.complete_song(installed.add_song(1))
    made = back_up(installed)
    changed = Settings(home=installed.settings.home, data=tmp_path / "disk", disk_reserve_bytes=1)
    restored = bring_back(made, changed, parts=("store",))
    assert (restored.rebuilt, restored.requeued) == (1, 0)
    assert tree(changed.store_root / "archive") == tree(installed.store.archive)
    Store(changed.store_root, 1).require_ready()


def test_lost_store_comes_back_without_what_the_ledger_knows_as_deleted(installed: Installed, tmp_path: Path) -> None:
    """Promise 16: the list beside a disk that was away then is older, and the store's own is lost with the store."""
    installed.add_song(1)
    made = back_up(installed)
    archived = installed.ledger.song("s1").archive_path
    installed.ledger.deletions.request_song("s1", actor="me")
    changed = Settings(home=installed.settings.home, data=tmp_path / "disk", disk_reserve_bytes=1)
    assert bring_back(made, changed, parts=("store",)).left_out > 0
    assert not (changed.store_root / archived).exists()


def test_lost_store_gets_the_original_of_a_deleted_song_that_was_handed_in_again(
    installed: Installed, tmp_path: Path
) -> None:
    installed.add_song(1, content=b"the same bytes")
    made = back_up(installed)
    receipt = installed.ledger.deletions.request_song("s1", actor="me").receipt
    installed.ledger.deletions.forget_songs(["s1"], receipt=receipt, removed={})
    installed.add_song(2, content=b"the same bytes")
    changed = Settings(home=installed.settings.home, data=tmp_path / "disk", disk_reserve_bytes=1)
    bring_back(made, changed, parts=("store",))
    assert (changed.store_root / installed.ledger.song("s2").archive_path).read_bytes() == b"the same bytes"


def test_backup_moves_from_sqlite_to_postgres(installed: Installed, tmp_path: Path, postgres_url: str) -> None:
    """GLOBAL-003."""
    job = installed.add_song(1)
    expected = (installed.ledger.job(job.job_uuid), installed.ledger.history(job.job_uuid))
    made = back_up(installed)
    settings = Settings(home=tmp_path / "new", database_url=postgres_url, disk_reserve_bytes=1)
    bring_back(made, settings)
    ledger = Ledger(settings.ledger_url)
    assert (ledger.job(job.job_uuid), ledger.history(job.job_uuid)) == expected
    ledger.close()


def test_settings_that_differ_are_told(installed: Installed, target: Settings) -> None:
    given = installed.settings.model_dump(exclude_unset=True)
    made = back_up(Installed(Settings(**given, id3_version="2.3"), installed.store, installed.ledger))
    assert bring_back(made, target).other_settings["id3_version"] == "2.3"


KILLED = """
import os, signal, sys
from pathlib import Path
from ironclad_assets.settings import Settings
from ironclad_assets.upkeep.backup.repository import Repository
from ironclad_assets.upkeep.backup.restore import RestoreWish, restore_backup

home, folder, backup, limit = sys.argv[1:]
left = int(limit)
calls = ("os.rename", "os.link", "os.mkdir", "os.remove", "sqlite3.connect", "open")

def hook(name, arguments):
    global left
    if name in calls and not (name == "open" and (arguments[1] is None or "r" in str(arguments[1]))):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

settings = Settings(home=Path(home), disk_reserve_bytes=1)
wish = RestoreWish(repository=Repository(Path(folder)), backup=backup)
sys.addaudithook(hook)
restore_backup(settings, wish=wish, actor="me")
"""


@pytest.mark.chaos
@pytest.mark.long
def test_restore_that_is_killed_goes_on_with_the_same_command(installed: Installed, tmp_path: Path) -> None:
    """Promise 18: kill -9 at every third step; between the kills nobody could use what was there."""
    installed.complete_song(installed.add_song(1))
    installed.run_song(installed.add_song(2))
    made = back_up(installed)
    for kills in count():
        settings = Settings(home=tmp_path / f"new-{kills}", disk_reserve_bytes=1)
        command = [sys.executable, "-c", KILLED, str(settings.home), str(made.folder), made.manifest.id]
        first = subprocess.run([*command, str(3 * kills)], timeout=60, check=False, capture_output=True)
        if first.returncode == -signal.SIGKILL:
            if (settings.store_root / ".store-id").exists():
                assert Ledger(settings.ledger_url).jobs()
            first = subprocess.run([*command, "100000"], timeout=60, check=False, capture_output=True)
            killed = True
        else:
            killed = False
        assert first.returncode == 0, first.stderr.decode()
        ledger = Ledger(settings.ledger_url)
        states = sorted((job.song, job.attempt, job.state.value) for job in ledger.jobs())
        assert states == [("s1", 1, "completed"), ("s1", 2, "queued"), ("s2", 2, "queued")], kills
        assert tree(settings.store_root / "archive") == tree(installed.store.archive)
        require_no_restore(settings)
        assert not list(settings.home_dir.rglob("*.part"))
        ledger.close()
        if not killed:
            break
    assert kills > 10
    sys.stdout.write(f"\n{kills} kills of a restore, each went on\n")


@pytest.mark.parametrize("path", ["../evil", "/etc/passwd", "a/../../b", "", "a\0b"])
def test_path_that_leads_elsewhere_is_damage(path: str) -> None:
    """A backup from a stranger's disk writes nowhere but below home and store."""
    with pytest.raises(IroncladError) as caught:
        inside(path)
    assert caught.value.code is ErrorCode.BACKUP_DAMAGED
