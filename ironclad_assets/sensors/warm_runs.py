"""Runs as forks of one process that has imported what every run needs.

Dagster's code server starts each run as a new interpreter, which then imports Dagster and the graph: half of what a
short song costs. Here a fork server does that once; a run is its fork. It is Python's own (`multiprocessing`), so that
cancelling and messages between code server and run stay as they are.
"""

import multiprocessing
import os
import shutil
import tempfile
import threading
import time
from contextlib import suppress
from multiprocessing import forkserver, util
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from ironclad_assets.ledger.worker import WorkerIdentity, identify_process, is_alive, is_local
from ironclad_assets.storage import atomic

GRAPH = "ironclad_assets.definitions"
DAGSTER = "ironclad_assets.sensors.preload"
POSTGRES = "ironclad_assets.resources.dagster_postgres"

RUN_NAME = "ironclad-run"
"""The name of a run's process: its command line is the fork server's."""

KEEP_S = 1.0
"""How often the fork server is looked for; where it died, another imports everything before the next run comes."""

LONGEST_FOLDER = 60
"""Bytes of a folder's path that leave room for Python's own names below it: an address has 107."""

_OWN_NAME = Path("/proc/self/comm")
_looking = threading.Lock()


class WarmRun(ForkServerProcess):
    """The process of a run.

    Where the fork server died, which alone hears of its end, it lives on all the same: so says `is_alive`. Its exit
    code is 255 then.
    """

    _worker: WorkerIdentity | None = None

    def start(self) -> None:
        """Fork it. Raises `OSError` or `EOFError`, which Dagster is told, where the fork server dies meanwhile."""
        super().start()
        with suppress(OSError):  # it has ended already
            if self.pid is not None:
                self._worker = identify_process(self.pid)

    def is_alive(self) -> bool:
        """Return whether the process still runs."""
        with _looking:  # of two who look at once, one would lose the exit code
            heard_of = super().is_alive()
        worker = self._worker
        return heard_of or (worker is not None and is_local(worker) and is_alive(worker))


class WarmRuns(ForkServerContext):
    """The way of `multiprocessing` to start a `WarmRun`, with queues and events to go with it."""

    Process = WarmRun


def open_warm_runs(folder: Path, *, on_postgres: bool = False) -> WarmRuns:
    """Start the fork server, so that the first run finds it warm, and return the way to fork runs of it.

    Args:
        folder: where its socket shall be, for this process alone; what an earlier one left there is removed.
        on_postgres: runs keep their events in a Postgres, so what that needs is imported too.
    """
    _keep_sockets_in(folder)
    multiprocessing.set_forkserver_preload([GRAPH, *([POSTGRES] if on_postgres else []), DAGSTER])
    forkserver.ensure_running()
    threading.Thread(target=_keep_running, name="fork-server", daemon=True).start()
    return WarmRuns()


def take_name() -> None:
    """Name this process a run."""
    with suppress(OSError):
        _OWN_NAME.write_text(RUN_NAME, encoding="ascii")


def _keep_sockets_in(folder: Path) -> None:
    """Have the sockets of `multiprocessing` made below `folder` and not in the folder for temporary files."""
    # Before Python 3.11.1 other users of the machine could connect (CVE-2022-42919).
    util.abstract_sockets_supported = False  # type: ignore[misc]
    shutil.rmtree(folder, ignore_errors=True)
    atomic.make_folder(folder)
    given, tempfile.tempdir = tempfile.tempdir, _short_name(folder)
    try:
        util.get_temp_dir()  # made once, and kept for as long as this process lives
    finally:
        tempfile.tempdir = given


def _short_name(folder: Path) -> str:
    """Return a name of `folder`, for this process, that leaves room for a socket's; its descriptor stays open."""
    if len(os.fsencode(folder)) <= LONGEST_FOLDER:
        return str(folder)
    return f"/proc/self/fd/{os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)}"


def _keep_running() -> None:
    while True:
        time.sleep(KEEP_S)
        with suppress(OSError):  # no memory or process to be had now
            forkserver.ensure_running()
