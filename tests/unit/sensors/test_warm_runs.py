"""Runs are forks of a warm process, which may die without taking them with it."""

import gc
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from ironclad_assets.sensors.warm_runs import RUN_NAME, WarmRun, WarmRuns, open_warm_runs

PATIENCE_S = 60.0
PRELOAD = """
import os, threading
def descriptors():
    with os.scandir("/proc/self/fd") as found:
        return sorted(one.name for one in found)
before = descriptors()
import ironclad_assets.definitions, ironclad_assets.resources.dagster_postgres, ironclad_assets.sensors.preload
print(threading.active_count(), len(os.listdir("/proc/self/task")), descriptors() == before)
"""


def await_true(question: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not question():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose sockets would have names that are too long, with something that another process left."""
    folder = tmp_path_factory.mktemp("x" * 100) / "forks"
    folder.mkdir()
    (folder / "left-over").touch()
    return folder


@pytest.fixture(scope="module")
def runs(folder: Path) -> WarmRuns:
    return open_warm_runs(folder)


@pytest.fixture
def sleeping(runs: WarmRuns) -> Iterator[WarmRun]:
    run = runs.Process(target=time.sleep, args=(600,))
    run.start()
    yield run
    if run.is_alive():
        psutil.Process(run.pid).kill()


def parent_of(run: WarmRun) -> psutil.Process:
    parent = psutil.Process(run.pid).parent()
    assert parent is not None
    return parent


def test_a_run_is_a_fork_told_by_its_name(sleeping):
    await_true(lambda: psutil.Process(sleeping.pid).name() == RUN_NAME)
    assert parent_of(sleeping).name() != RUN_NAME
    assert parent_of(sleeping).ppid() == os.getpid()


def test_the_sockets_are_where_they_shall_be(sleeping, folder):
    assert sleeping.is_alive()
    (made,) = folder.iterdir()
    assert any(path.is_socket() for path in made.iterdir())


def test_a_run_has_what_the_graph_and_dagster_import(runs):
    queue = runs.Queue()
    run = runs.Process(target=tell_modules, args=(queue,))
    run.start()
    modules, frozen = queue.get(timeout=PATIENCE_S)
    assert {"ironclad_assets.definitions", "ironclad_assets.sensors.preload", "dagster._cli"} <= set(modules)
    assert frozen > 100_000, "what is preloaded is done to its end"
    run.join(PATIENCE_S)
    assert (run.is_alive(), run.exitcode) == (False, 0)


def tell_modules(queue: "multiprocessing.Queue[tuple[list[str], int]]") -> None:
    queue.put((list(sys.modules), gc.get_freeze_count()))


def test_exit_codes_arrive(runs):
    run = runs.Process(target=os._exit, args=(7,))
    run.start()
    run.join(PATIENCE_S)
    assert (run.is_alive(), run.exitcode) == (False, 7)


def test_a_run_outlives_its_fork_server_and_the_next_has_another(runs, sleeping):
    """The code server must not report a run as ended that goes on."""
    first = parent_of(sleeping)
    first.kill()
    await_true(lambda: not first.is_running() or first.status() == psutil.STATUS_ZOMBIE)
    assert sleeping.is_alive()
    following = runs.Process(target=time.sleep, args=(0.0,))
    following.start()
    following.join(PATIENCE_S)
    assert (following.is_alive(), following.exitcode) == (False, 0)
    psutil.Process(sleeping.pid).kill()
    await_true(lambda: not sleeping.is_alive())


def test_what_is_preloaded_starts_no_thread_and_opens_nothing(tmp_path: Path):
    """A fork has none of its parent's threads, and shares its open files."""
    done = subprocess.run(
        [sys.executable, "-c", PRELOAD],
        env={"PATH": os.environ["PATH"], "IRONCLAD_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "1 1 True"
    assert not (tmp_path / "home").exists()
