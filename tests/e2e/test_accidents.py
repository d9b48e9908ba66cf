"""What goes wrong in a year of running: a changed mind, a song that kills its run.

Nothing is lost, the message is clear, and work goes on. Storage that is full or away is the matter of
`test_storage_accidents`.
"""

import json
import time
from datetime import datetime

import pytest
from dagster._grpc.server import CLEANUP_TICK

from ironclad_assets.contracts.v1.job import JobState
from tests.e2e.conftest import MakeSystem
from tests.e2e.running import RunningSystem, say

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

CANCELED_WITHIN_S = 5.0
ENGINE_ROLES = ("engine guard", "engine worker", "grandchild", "media child")


@pytest.fixture(scope="module")
def system(make_system: MakeSystem) -> RunningSystem:
    system = make_system()
    system.start()
    return system


def test_canceled_separation_ends_within_five_seconds_and_a_retry_completes(system):
    """JOB-002: cancel ends the work, leaves nothing visible, and the song can be tried again."""
    job = system.submit("Changed mind", seconds=30.0)
    system.await_true(lambda: system.pids("grandchild"), timeout_s=90.0, what="the engine works")
    done = system.run_command("cancel", job.job_uuid)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [pid for role in ENGINE_ROLES for pid in system.pids(role)] == []
    times = {entry.detail or entry.to_state: entry.at for entry in system.ledger.history(job.job_uuid)}
    began, ended = (datetime.fromisoformat(times[key]) for key in ("cancel requested", JobState.CANCELED))
    took = (ended - began).total_seconds()
    say(f"canceled {took:.1f} s after it was asked for")
    assert took <= CANCELED_WITHIN_S
    assert not [path for path in system.library() if "Changed mind" in path]
    again = system.run_command("retry", job.job_uuid, "--json")
    assert again.returncode == 0, again.stdout + again.stderr
    retried = system.ledger.job(json.loads(again.stdout)["job"]["job_uuid"])
    system.await_job_completed(retried, timeout_s=120.0)
    assert [path for path in system.library() if "Changed mind" in path]


def test_song_that_kills_its_run_is_given_up_and_others_complete(system):
    """WATCH-004: a poison song is tried three times, then failed with its reason."""
    poison = system.submit("Poison", "--engine", "poison")
    good = [system.submit(f"Good {number}") for number in range(2)]
    system.await_true(
        lambda: not system.ledger.job(poison.job_uuid).state.active, timeout_s=180.0, what="the poison ends"
    )
    ended = system.ledger.job(poison.job_uuid)
    assert ended.state is JobState.FAILED, system.story()
    assert ended.error is not None
    assert (ended.error.code, ended.error.stage, ended.crashes) == ("worker_crashed", "stems", 3)
    for job in good:
        system.await_job_completed(job, timeout_s=120.0)
        assert system.ledger.job(job.job_uuid).crashes == 0


def test_song_goes_on_while_those_who_started_its_run_die(system):
    """Neither the fork server nor the code server takes the runs with it, and both are there for the next song."""
    job = system.submit("Orphan", seconds=20.0)
    system.await_true(lambda: system.pids("grandchild"), timeout_s=90.0, what="the engine works")
    before = system.pids("run worker")
    assert system.kill("fork server") is not None
    time.sleep(2.0 * CLEANUP_TICK)  # the code server looks for runs that ended
    assert system.kill("code server") is not None
    assert system.pids("run worker") == before
    system.await_job_completed(job, timeout_s=120.0)
    assert (system.ledger.job(job.job_uuid).attempt, system.ledger.job(job.job_uuid).crashes) == (1, 0)
    system.await_job_completed(system.submit("After them"), timeout_s=120.0)
