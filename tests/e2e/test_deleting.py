"""Deleting while the system runs: its services write on, and afterwards nothing names what was deleted."""

import json
import shutil

import pytest

from ironclad_assets.contracts.v1.job import Job, JobState
from ironclad_assets.ledger.forget import Traces, read_traces
from tests import synth
from tests.e2e.running import RunningSystem
from tests.forgetting import places_of

pytestmark = pytest.mark.slow

LEAVING = "quixote-7"


def traces_of(system: RunningSystem, job: Job) -> Traces:
    with system.ledger._database.read() as connection:
        return read_traces(connection, job.song)


def drop(system: RunningSystem, name: str, *, user_id: str, seconds: float, seed: int) -> None:
    folder = system.store / "input" / user_id
    folder.mkdir(exist_ok=True)
    path = synth.write_flac(system.folder / name, synth.noise(seconds, seed=seed))
    shutil.move(path, folder / name)


def named(system: RunningSystem, name: str) -> Job:
    return next(job for job in system.jobs() if job.original_name == name)


@pytest.mark.chaos
@pytest.mark.long
def test_a_song_and_a_user_are_deleted_from_a_running_system_within_minutes(tmp_path) -> None:
    """GLOBAL-004, promise 16: also a song whose run is in the middle of a stage; the others are not disturbed."""
    system = RunningSystem(tmp_path)
    try:
        system.start()
        drop(system, "Sünde des Herrn.flac", user_id=LEAVING, seconds=2.0, seed=1)
        drop(system, "What remains.flac", user_id="bob", seconds=2.0, seed=2)
        system.await_completed(songs=2)
        before = system.library()
        gone, kept = named(system, "Sünde des Herrn.flac"), named(system, "What remains.flac")
        first = traces_of(system, gone)
        told = (*first.ids, first.original_name, "Sünde des Herrn")
        assert places_of(system.home, told)
        done = system.run_command("delete-song", gone.song, "--yes", "--json", timeout_s=300.0)
        assert done.returncode == 0, done.stdout + done.stderr + system.story()
        assert json.loads(done.stdout)["state"] == "done"
        assert places_of(system.home, told) == []

        drop(system, "A long one.flac", user_id=LEAVING, seconds=120.0, seed=3)
        system.await_true(lambda: len(system.jobs()) == 2, timeout_s=30.0, what="the long one is taken")
        long = named(system, "A long one.flac")
        system.await_stage(long, "stems")
        second = traces_of(system, long)
        done = system.run_command("delete-user", LEAVING, "--yes", "--json", timeout_s=300.0)
        assert done.returncode == 0, done.stdout + done.stderr + system.story()
        receipt = json.loads(done.stdout)
        assert receipt["removed"]["runs"]["count"] >= 1
        assert places_of(system.home, (*told, *second.ids, second.original_name, LEAVING)) == []
        assert system.partitions() == [kept.song]
        assert system.library() == {name: hash_ for name, hash_ in before.items() if "What remains" in name}
        assert system.ledger.job(kept.job_uuid).state is JobState.COMPLETED

        drop(system, "Sünde des Herrn.flac", user_id=LEAVING, seconds=2.0, seed=1)
        system.await_completed(songs=2)
        assert named(system, "Sünde des Herrn.flac").song != gone.song
    finally:
        system.close()
