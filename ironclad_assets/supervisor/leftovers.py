"""What an earlier supervisor of the same home left running when it was killed: found and ended before anew.

Children die with their parents by themselves; this is for the moment before they notice, and for what an
engine started and nobody watched any more.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from ironclad_assets.engine_host.environment import JOB_VARIABLE
from ironclad_assets.ledger.worker import WorkerIdentity, is_alive
from ironclad_assets.settings import Settings

SUPERVISOR_VARIABLE = "IRONCLAD_SUPERVISOR"
GONE_WITHIN_S = 10.0


def end_leftovers(settings: Settings) -> list[int]:
    """Kill every process that a dead supervisor of this home left, and return their ids once they are gone."""
    found = list(_find_leftovers(settings))
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.kill()
    deadline = time.monotonic() + GONE_WITHIN_S
    while any(_lives(process) for process in found) and time.monotonic() < deadline:
        time.sleep(0.05)
    return [process.pid for process in found]


def _find_leftovers(settings: Settings) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError, ValueError):
            environment = process.environ()
            supervisor = environment.get(SUPERVISOR_VARIABLE)
            if supervisor and environment.get("IRONCLAD_HOME") == str(settings.home_dir):
                if not is_alive(WorkerIdentity.parse(supervisor)):
                    yield process
            elif JOB_VARIABLE in environment and Path(process.cwd()).is_relative_to(settings.store_root):
                yield process


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
