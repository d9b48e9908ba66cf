"""kill -9 of everything that belongs to warm workers, alone and with all else, while songs run on them."""

import random
import time

import pytest

from ironclad_assets.contracts.v1.job import JobState
from tests.chaos.conftest import SONG_S, SONGS
from tests.chaos.test_kills import RECOVERY_S, SEED, Disturbance
from tests.e2e.conftest import MakeSystem
from tests.e2e.running import ROUNDS, say

pytestmark = [pytest.mark.chaos, pytest.mark.long]

ALONE = ("engine worker", "warm service", "engine guard", "run worker")


@pytest.fixture(scope="module")
def disturbed(make_system: MakeSystem, reference: dict[str, str]) -> Disturbance:
    """A system with warm workers, killed in every way while it worked, then left alone until all songs ended."""
    system = make_system(IRONCLAD_EXECUTOR="warm", IRONCLAD_WARM_WORKERS="2")
    disturbance = Disturbance(system, random.Random(SEED + 1), reference)
    disturbance.start()
    system.drop_songs(SONGS, seconds=SONG_S)
    for _ in range(ROUNDS):
        for role in ALONE:
            disturbance.kill(role)
        time.sleep(disturbance.rng.uniform(0.0, 5.0))
        disturbance.cut_power()
    ended = [state for state in JobState if not state.active]
    system.await_states(ended, songs=SONGS, timeout_s=RECOVERY_S + 30.0 * SONGS)
    say(f"kills {disturbance.kills}")
    return disturbance


def test_every_song_completes_with_the_bytes_of_an_undisturbed_run(disturbed, reference):
    """JOB-003, RECON-002: a warm worker makes what a worker of its own makes, whatever dies."""
    system = disturbed.system
    assert set(disturbed.kills) == {*ALONE, "everything"}
    assert [job.state for job in system.jobs()] == [JobState.COMPLETED] * SONGS, system.story()
    assert system.library() == reference
    assert disturbed.torn == []
    assert system.leftovers() == []


def test_warm_workers_end_with_the_supervisor(disturbed):
    system = disturbed.system
    system.drop_songs(1, seconds=10.0, first=1000)
    system.await_true(lambda: system.pids("engine worker"), timeout_s=60.0, what="a separation")
    system.kill("supervisor")
    took = system.await_true(lambda: not system.processes(), timeout_s=10.0, what="everything is gone")
    say(f"everything was gone {took:.1f} s after the supervisor")
