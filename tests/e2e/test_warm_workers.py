"""Warm workers as their owner meets them: one setting, and the model stays loaded, whatever is killed."""

import json
import re

import pytest

from ironclad_assets.contracts.v1.job import Job
from tests.e2e.conftest import MakeSystem
from tests.e2e.running import RunningSystem, say
from tests.integration.conftest import write_halves

pytestmark = [pytest.mark.chaos, pytest.mark.long]

MODULE = """
import time

import numpy as np
from ironclad_harness.engine import Pass


def load():
    time.sleep(1.5)
    return "loaded"


class Halves:
    def __init__(self, context):
        self._window = context.sample_rate_hz // 5
        context.keeper.keep("model", load)

    def passes(self):
        return (Pass(window=self._window, hop=self._window),)

    def separate(self, y, *, window):
        time.sleep(0.1)
        return np.stack([y * np.float32(0.25), y * np.float32(0.75)])
"""
"""`halves` with a model that takes its time to load."""


@pytest.fixture(scope="module")
def system(make_system: MakeSystem) -> RunningSystem:
    system = make_system(IRONCLAD_EXECUTOR="warm")
    write_halves(system.engines, module=MODULE)
    system.start()
    return system


def log_of(system: RunningSystem, job: Job) -> str:
    return (system.store / "logs" / "engines" / f"{job.job_uuid}.log").read_text(encoding="utf-8")


def workers_of(system: RunningSystem, job: Job) -> list[int]:
    return [int(pid) for pid in re.findall(r"leased the warm worker pid=(\d+)", log_of(system, job))]


def test_health_and_the_list_of_processes_know_the_service(system):
    parts = json.loads(system.run_command("health", "--json").stdout)["parts"]
    assert parts["warm-workers"]["well"], parts
    known = json.loads((system.home / "run" / "processes.json").read_text(encoding="utf-8"))
    assert known["warm-workers"]["pid"] in system.pids("warm service")


def test_the_second_song_finds_the_model_loaded(system):
    """ENG-002."""
    jobs = [system.submit(f"Warm {number}") for number in range(2)]
    for job in jobs:
        system.await_job_completed(job, timeout_s=120.0)
    (first,), (second,) = (workers_of(system, job) for job in jobs)
    assert first == second
    assert sorted("it was warm" in log_of(system, job) for job in jobs) == [False, True]


@pytest.mark.parametrize("role", ["engine worker", "engine guard", "warm service"])
def test_a_song_survives_the_kill_of_whatever_works_for_it(system, role):
    """JOB-003."""
    job = system.submit(f"Killed {role}", seconds=10.0)
    system.await_true(
        lambda: "window" in (system.ledger.job(job.job_uuid).message or ""), timeout_s=90.0, what="the engine works"
    )
    assert system.kill(role) is not None
    waited = system.await_job_completed(job, timeout_s=120.0)
    assert system.ledger.job(job.job_uuid).attempt == 1, "the run survived it by itself"
    assert "tried again, continuing at the checkpoint" in log_of(system, job)
    say(f"the song was complete {waited:.1f} s after the {role} was killed")
    system.await_true(lambda: system.pids("warm service"), timeout_s=30.0, what="the service is back")


def test_everything_ends_with_the_system(system):
    assert system.stop() == 0
    system.await_true(lambda: not system.processes(), timeout_s=10.0, what="everything is gone")
    assert not (system.home / "run" / "warm.sock").exists()
