"""What a killed supervisor left is ended before a new one starts; everybody else's processes are left alone."""

import os
import subprocess
import sys

import pytest

from ironclad_assets.ledger.worker import current_worker, identify_process
from ironclad_assets.supervisor.leftovers import end_leftovers


@pytest.fixture
def start():
    started = []

    def start(cwd="/", **environment):
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", "print('up', flush=True); input()"],
            env=environment,
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdout.readline() == b"up\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def dead_supervisor(start):
    process = start()
    worker = identify_process(process.pid)
    process.kill()
    process.wait()
    return str(worker)


def test_process_of_a_dead_supervisor_of_this_home_is_ended(settings, start, dead_supervisor):
    left = start(IRONCLAD_HOME=str(settings.home_dir), IRONCLAD_SUPERVISOR=dead_supervisor)
    assert end_leftovers(settings) == [left.pid]
    assert left.wait(5) < 0


def test_what_an_engine_left_in_the_store_is_ended(settings, store, start):
    left = start(cwd=store.input, IRONCLAD_JOB="some-job")
    assert end_leftovers(settings) == [left.pid]


def test_processes_of_other_homes_living_supervisors_and_people_stay(settings, store, start, dead_supervisor):
    others = [
        start(IRONCLAD_HOME="/elsewhere", IRONCLAD_SUPERVISOR=dead_supervisor),
        start(IRONCLAD_HOME=str(settings.home_dir), IRONCLAD_SUPERVISOR=str(current_worker())),
        start(IRONCLAD_HOME=str(settings.home_dir)),
        start(IRONCLAD_JOB="some-job"),
        start(cwd=store.input, PATH=os.environ["PATH"]),
    ]
    assert end_leftovers(settings) == []
    assert [process.poll() for process in others] == [None] * len(others)
