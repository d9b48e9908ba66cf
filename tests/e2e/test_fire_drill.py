"""The fire drill: a backup under load, everything killed and wiped, one command, and all is there again.

What the drill did and how long it took is printed with `-s`; docs/operations.md has it from one machine. `make chaos`
does it plainly, encrypted, with the library, and from SQLite to Postgres.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.job import Job, JobError, JobState
from ironclad_assets.contracts.v1.library_entry import LibraryEntry
from ironclad_assets.ledger.pauses import PauseKind
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.storage.artifacts import read_manifest
from ironclad_assets.storage.hashing import hash_file
from ironclad_assets.storage.store import Store
from tests import synth
from tests.e2e.conftest import MakeSystem
from tests.e2e.running import ROUNDS, RunningSystem, say

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

COMPLETE = 2 * ROUNDS
WAITING = 2 * ROUNDS
RUNNING_S = 60.0
"""Seconds of audio that the slow engine works on for about half as long."""


Library = dict[str, dict[str, str]]
"""SHA-256 of each file of each song in the library."""


class Drill:
    """One drill and its log: what was done, and how long it took."""

    def __init__(self, system: RunningSystem, folder: Path) -> None:
        self.system = system
        self.folder = folder
        self._began = time.monotonic()
        self.lines: list[str] = []

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.note(f"{what} ({time.monotonic() - began:.1f} s)")

    def note(self, what: str) -> None:
        self.lines.append(f"{time.monotonic() - self._began:6.1f} s  {what}")
        sys.stdout.write(f"{self.lines[-1]}\n")
        sys.stdout.flush()

    def command(self, *arguments: str) -> dict[str, object]:
        done = self.system.run_command(*arguments, "--json", timeout_s=300.0)
        assert done.returncode == 0, done.stdout + done.stderr
        answer: dict[str, object] = json.loads(done.stdout)
        return answer


def library_of(system: RunningSystem) -> Library:
    """Return what stands in the library of each complete song, by its original name, hashed from the files."""
    store = Store(system.store, 1)
    found = {}
    for job in system.jobs():
        if job.state is JobState.COMPLETED:
            entry = LibraryEntry.model_validate(read_manifest(store.stage("library_entry", job.song)).payload)
            paths = [f"{item.root}/{item.file.path}" for item in entry.files]
            found[job.original_name] = {path: hash_file(store.root / path) for path in paths}
    return found


def assert_rows_and_files_match(system: RunningSystem) -> int:
    """Every song has its original, every original its song; return how many."""
    songs = {job.song: system.ledger.song(job.song) for job in system.jobs()}
    expected = {song.archive_path: song.sha256 for song in songs.values() if song.sha256}
    archive = system.store / "archive"
    present = {path.relative_to(system.store).as_posix(): hash_file(path) for path in archive.glob("??/*")}
    assert present == expected
    return len(present)


def drop(system: RunningSystem, name: str, *, seconds: float = 2.0) -> None:
    """Drop a song into the upload folder."""
    staged = synth.write_flac(system.folder / f"{name}.flac", synth.noise(seconds, seed=zlib.crc32(name.encode())))
    system.drop(staged)


def job_named(system: RunningSystem, name: str) -> Job | None:
    """Return the latest job of the song that was dropped under that name."""
    return next((job for job in system.jobs() if job.original_name == f"{name}.flac"), None)


def bring_into_all_states(system: RunningSystem) -> None:
    """Leave songs complete, failed, canceled, running, queued and held."""
    for number in range(COMPLETE):
        drop(system, f"Complete {number}")
    (system.folder / "junk.flac").write_bytes(b"this is no music" * 1000)
    system.drop(system.folder / "junk.flac")
    system.await_states([JobState.COMPLETED, JobState.FAILED], songs=COMPLETE + 1, timeout_s=300.0)
    system.ledger.pauses.set(PauseKind.ALL, actor="drill")
    drop(system, "Running", seconds=RUNNING_S)
    names = ["Running", "Canceled", "Held", *(f"Waiting {number}" for number in range(WAITING))]
    for name in names[1:]:
        drop(system, name)
    system.await_true(lambda: all(job_named(system, name) for name in names), timeout_s=60.0, what="all are taken")
    found = {name: job_named(system, name) for name in names}
    system.ledger.request_cancel(found["Canceled"].job_uuid, actor="drill")
    error = JobError(code="storage_full", detail="as if the disk were full", remedy="wait", stage=None)
    system.ledger.pauses.lift(PauseKind.ALL, actor="drill")
    system.await_stage(found["Running"], "stems")
    if (held := system.ledger.job(found["Held"].job_uuid)).state is JobState.QUEUED:
        system.ledger.hold(held.job_uuid, error, actor="drill")


def drill(system: RunningSystem, *, back_up: list[str], bring_back: list[str], folder: Path, name: str) -> Drill:
    """Do the whole drill; return its log."""
    say(f"fire drill: {name}")
    one = Drill(system, folder)
    with one.step("started"):
        system.start()
    with one.step("songs brought into every state"):
        bring_into_all_states(system)
    states = sorted({job.state.value for job in system.jobs()})
    with one.step("backup made under load"):
        made = one.command("backup", "create", "--to", str(folder), *back_up)["backup"]
    one.note(f"{made['songs']} songs, {made['files']} files, {made['size_bytes'] / 1e6:.1f} MB; states {states}")
    expected = {name: files for name, files in library_of(system).items() if name.startswith("Complete")}
    known = {job.original_name for job in system.jobs()}
    with one.step("everything killed"):
        killed = system.kill_all()
    shutil.rmtree(system.home)
    system.ledger.close()  # or this process would go on reading the file that is gone
    one.note(f"{killed} processes are dead, home and store are gone")
    with one.step("backup verified, every byte read"):
        verified = one.command("backup", "verify", "--from", str(folder), *bring_back)["verified"][0]
    assert verified["whole"]
    assert verified["contents"] == "verified"
    return finish(one, expected=expected, known=known, bring_back=bring_back)


def finish(one: Drill, *, expected: Library, known: set[str], bring_back: list[str]) -> Drill:
    """Restore, start, wait for everything, compare."""
    system = one.system
    with one.step("restored on the empty machine"):
        restored = one.command("restore", "--from", str(one.folder), *bring_back)["restored"]
    one.note(f"{restored['requeued']} running jobs wait again, {restored['rebuilt']} songs are made again")
    with one.step("started"):
        system.start()

    def settled() -> bool:
        return not any(job.state.active for job in system.jobs())

    with one.step("every song that waited is done"):
        system.await_true(settled, timeout_s=900.0, what="all songs end")
    latest = {job.original_name: job for job in reversed(system.jobs())}
    assert latest.keys() == known
    ended = {name: job.state for name, job in latest.items()}
    assert ended.pop("junk.flac") is JobState.FAILED
    assert ended.pop("Canceled.flac") is JobState.CANCELED
    assert set(ended.values()) == {JobState.COMPLETED}, system.story()
    found = library_of(system)
    assert {name: found[name] for name in expected} == expected, "the library is the same, byte for byte"
    files = assert_rows_and_files_match(system)
    one.note(f"{sum(map(len, expected.values()))} library files of {len(expected)} songs equal by hash; "
             f"{files} originals and rows match both ways")  # fmt: skip
    return one


@pytest.mark.long
def test_everything_comes_back_after_the_machine_is_lost(make_system: MakeSystem, tmp_path: Path) -> None:
    """SUPPORT-001, GLOBAL-003, promise 18."""
    drill(make_system(), back_up=[], bring_back=[], folder=tmp_path / "backups", name="plain")


@pytest.mark.long
def test_encrypted_backup_brings_everything_back(make_system: MakeSystem, tmp_path: Path) -> None:
    """SUPPORT-001."""
    system = make_system()
    made = system.run_command("backup", "keygen", str(tmp_path / "key.txt"), "--json")
    recipient = json.loads(made.stdout)["recipient"]
    identity = ["--identity", str(tmp_path / "key.txt")]
    folder = tmp_path / "backups"
    drill(system, back_up=["--encrypt-to", recipient], bring_back=identity, folder=folder, name="encrypted")


@pytest.mark.long
def test_library_comes_back_without_being_made_again(make_system: MakeSystem, tmp_path: Path) -> None:
    """GLOBAL-003: what was in the backup is not computed twice."""
    one = drill(
        make_system(), back_up=["--with", "library"], bring_back=[], folder=tmp_path / "backups", name="with library"
    )
    assert any(", 0 songs are made again" in line for line in one.lines)


@pytest.mark.long
def test_backup_of_sqlite_comes_back_on_postgres(make_system: MakeSystem, tmp_path: Path, postgres_url: str) -> None:
    """GLOBAL-003: the documented way from SQLite to Postgres."""
    system = make_system()
    original = system.start

    def start_on_postgres() -> float:
        if not (system.home / "ledger.db").exists() and (tmp_path / "backups" / "snapshots").exists():
            system.ledger.close()
            system.ledger = Ledger(postgres_url)
        return original()

    system.start = start_on_postgres  # type: ignore[method-assign]
    command = system.run_command

    def run_command(*arguments: str, timeout_s: float = 60.0):
        if arguments[0] == "restore":
            system.environment["IRONCLAD_DATABASE_URL"] = postgres_url
        return command(*arguments, timeout_s=timeout_s)

    system.run_command = run_command  # type: ignore[method-assign]
    drill(system, back_up=[], bring_back=[], folder=tmp_path / "backups", name="from SQLite to Postgres")
    system.close()


@pytest.mark.long
def test_backup_that_is_killed_leaves_the_earlier_ones_whole(make_system: MakeSystem, tmp_path: Path) -> None:
    """Promise 18: an interrupted backup is swept by the next."""
    system = make_system()
    system.start()
    for number in range(3):
        system.submit(f"Song {number}")
    folder = tmp_path / "backups"
    first = json.loads(system.run_command("backup", "create", "--to", str(folder), "--json").stdout)["backup"]["id"]
    command = [sys.executable, "-c", "from ironclad_assets.cli.main import main; main()", "backup", "create"]
    for number in range(10 * ROUNDS):
        process = subprocess.Popen([*command, "--to", str(folder)], env=system.environment, stderr=subprocess.DEVNULL)
        time.sleep(1.0 + 0.05 * number)
        process.kill()
        process.wait(10.0)
    done = system.run_command("backup", "verify", "--all", "--from", str(folder), "--json")
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["verified"][0]["id"] == first
    assert system.run_command("backup", "create", "--to", str(folder)).returncode == 0
    assert not [name for name in os.listdir(folder) if name.startswith(".incoming")]
