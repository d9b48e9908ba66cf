"""Storage that is full, read-only, or away: paused with a clear message, nothing lost, goes on by itself."""

import json
import subprocess
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.job import Job, JobState
from tests import synth
from tests.e2e.conftest import MakeSystem
from tests.e2e.running import RunningSystem, say

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

NOTICED_WITHIN_S = 30.0
GOES_ON_WITHIN_S = 60.0
VOLUME_MIB = 64
RESERVE_MIB = 8


class Volume:
    """A small file system of its own that the store lies on."""

    def __init__(self, point: Path) -> None:
        self.point = point
        self._filler = point / ".filler"

    def mount(self) -> None:
        self.point.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={VOLUME_MIB}m", "tmpfs", str(self.point)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")

    def remount(self, mode: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{mode}", str(self.point)], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.point)], check=True)

    def fill(self) -> None:
        """Take all space that is left."""
        with self._filler.open("wb", buffering=0) as stream:
            try:
                while True:
                    stream.write(bytes(1 << 16))
            except OSError:
                return

    def free(self) -> None:
        self._filler.unlink()


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Volume]:
    volume = Volume(tmp_path_factory.mktemp("volume") / "store")
    volume.mount()
    yield volume
    volume.unmount()


@pytest.fixture(scope="module")
def system(volume: Volume, make_system: MakeSystem) -> Iterator[RunningSystem]:
    system = make_system(IRONCLAD_DATA=str(volume.point), IRONCLAD_DISK_RESERVE_BYTES=str(RESERVE_MIB * 1024 * 1024))
    system.start()
    yield system
    system.close()


def paused(system: RunningSystem, code: str) -> None:
    """Wait until the watcher says why it pauses; the command `health` must say it too."""
    took = system.await_true(
        lambda: code in system.watcher().get("paused", ""), timeout_s=NOTICED_WITHIN_S, what=f"paused for {code}"
    )
    health = system.run_command("health")
    assert health.returncode == 5, health.stdout
    assert code in " ".join(health.stdout.split()), health.stdout
    say(f"{code} was said after {took:.1f} s")


def dropped(system: RunningSystem, name: str) -> Path:
    """Write a song into the upload folder in a way that nothing has to be written later."""
    hidden = synth.write_flac(system.store / f".{name}.flac", synth.noise(2.0, seed=zlib.crc32(name.encode())))
    return hidden.rename(system.store / "input" / f"{name}.flac")


def song(system: RunningSystem, name: str) -> Job:
    (job,) = [job for job in system.jobs() if job.original_name == f"{name}.flac"]
    return job


def goes_on(system: RunningSystem, name: str) -> None:
    took = system.await_true(
        lambda: any(job.original_name == f"{name}.flac" and job.state is JobState.COMPLETED for job in system.jobs()),
        timeout_s=GOES_ON_WITHIN_S,
        what=f"{name} is complete",
    )
    say(f"{name} was complete {took:.1f} s after storage was back")
    assert [path for path in system.library() if name in path]


def test_upload_waits_while_the_disk_is_full(system, volume):
    """Disk full: paused with a clear message; nothing lost; goes on by it"""
    volume.fill()
    name = "Waits for space"
    (system.store / "input" / f"{name}.flac").write_bytes(b"")
    paused(system, "storage_full")
    assert (system.store / "input" / f"{name}.flac").exists()
    assert system.jobs() == []
    volume.free()
    (system.store / "input" / f"{name}.flac").unlink()
    dropped(system, name)
    goes_on(system, name)


@pytest.mark.long
def test_running_song_is_held_when_the_disk_fills_up(system, volume):
    job = system.submit("Held for space", seconds=8.0)
    system.await_stage(job, "stems")
    system.await_true(lambda: system.pids("engine worker"), timeout_s=30.0, what="the engine works")
    volume.fill()
    system.await_true(
        lambda: system.ledger.job(job.job_uuid).state is JobState.HELD, timeout_s=NOTICED_WITHIN_S, what="held"
    )
    held = system.ledger.job(job.job_uuid)
    assert held.error is not None
    assert held.error.code == "storage_full"
    paused(system, "storage_full")
    volume.free()
    goes_on(system, "Held for space")
    assert system.ledger.job(job.job_uuid).crashes == 0


@pytest.mark.long
def test_work_waits_while_the_folder_is_read_only(system, volume):
    """Read-only folder: paused, and the retry that was asked for meanwhile runs afterwards."""
    before = song(system, "Waits for space")
    volume.remount("ro")
    try:
        paused(system, "storage_read_only")
        asked = system.run_command("retry", before.job_uuid, "--format", "wav", "--json")
        assert asked.returncode == 0, asked.stdout + asked.stderr
        job = system.ledger.job(json.loads(asked.stdout)["job"]["job_uuid"])
    finally:
        volume.remount("rw")
    system.await_job_completed(job)
    assert [path for path in system.library() if path.endswith(".wav")]


@pytest.mark.long
def test_store_without_its_sentinel_is_left_alone_until_it_is_back(system):
    """Missing store sentinel: storage away; nothing is taken, made or deleted."""
    sentinel = system.store / ".store-id"
    before = system.library()
    aside = sentinel.rename(system.store / ".store-id-aside")
    name = "Waits for the sentinel"
    path = dropped(system, name)
    paused(system, "storage_away")
    assert path.exists()
    assert system.library() == before
    aside.rename(sentinel)
    goes_on(system, name)


@pytest.mark.long
def test_empty_mount_point_stays_empty_also_over_a_restart(system, volume):
    name = "Waits for the volume"
    assert system.stop() == 0
    dropped(system, name)
    volume.mount()  # another, empty volume hides the store
    try:
        system.start()
        paused(system, "storage_away")
        assert list(volume.point.iterdir()) == []
    finally:
        volume.unmount()
    goes_on(system, name)


@pytest.mark.long
def test_system_whose_whole_home_is_on_the_full_disk_goes_on(volume, make_system):
    """The ledger and Dagster's own tables cannot be written either; nothing is lost, and no restart is needed."""
    volume.mount()
    try:
        system = make_system(volume.point / "installation", IRONCLAD_DISK_RESERVE_BYTES=str(RESERVE_MIB * 1024 * 1024))
        system.start()
        job = system.submit("Nothing can be written", seconds=8.0)
        system.await_true(lambda: system.pids("engine worker"), timeout_s=60.0, what="the engine works")
        volume.fill()
        time.sleep(20.0)
        health = system.run_command("health")
        assert health.returncode == 5, health.stdout
        volume.free()
        took = system.await_job_completed(job, timeout_s=2 * GOES_ON_WITHIN_S)
        say(f"the song was complete {took:.1f} s after the disk had space again")
        assert len(system.jobs()) == 1
        assert system.leftovers() == []
        system.close()
    finally:
        volume.unmount()
