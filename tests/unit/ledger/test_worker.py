"""Workers: the living told from the dead, and from their namesakes."""

import dataclasses
import os
import subprocess
import sys

import pytest

from ironclad_assets.ledger.worker import WorkerIdentity, current_worker, identify_process, is_alive, is_local


def test_this_process_is_alive_and_local() -> None:
    worker = current_worker()
    assert worker.pid == os.getpid()
    assert is_alive(worker)
    assert is_local(worker)


@pytest.mark.parametrize(
    "change",
    [{"boot_id": "another boot"}, {"started_ticks": 1}, {"pid": 2**22 + 1}],
    ids=lambda change: next(iter(change)),
)
def test_another_boot_start_or_number_is_another_worker(change: dict[str, object]) -> None:
    assert not is_alive(dataclasses.replace(current_worker(), **change))


def test_a_worker_elsewhere_counts_as_alive() -> None:
    elsewhere = dataclasses.replace(current_worker(), host="elsewhere", pid=2**22 + 1)
    assert is_alive(elsewhere)
    assert not is_local(elsewhere)


def test_a_process_that_ended_is_dead_even_before_it_is_reaped() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    worker = identify_process(child.pid)
    assert is_alive(worker)
    child.communicate()
    assert not is_alive(worker)
    with pytest.raises(ProcessLookupError):
        identify_process(child.pid)
    zombie = os.fork()
    if zombie == 0:
        os._exit(0)
    os.waitid(os.P_PID, zombie, os.WEXITED | os.WNOWAIT)
    with pytest.raises(ProcessLookupError):
        identify_process(zombie)
    os.waitpid(zombie, 0)


def test_an_identity_survives_being_written_down() -> None:
    worker = WorkerIdentity(host="a:b", boot_id="c-d", pid=7, started_ticks=8)
    assert WorkerIdentity.parse(str(worker)) == worker
    with pytest.raises(ValueError):
        WorkerIdentity.parse("7")
