"""Runs as forks of one process that has imported what every run needs.

Dagster's code server starts each run as a new interpreter, which then imports Dagster and the graph: half of what a
short song costs. Here a fork server does that once; a run is its fork. It is Python's own (`multiprocessing`), so that
cancelling, exit codes and messages between code server and run stay as they are.
"""

import multiprocessing
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from ironclad_assets.ledger.worker import WorkerIdentity, identify_process, is_alive

GRAPH = "ironclad_assets.definitions"
DAGSTER = "ironclad_assets.sensors.preload"
POSTGRES = "ironclad_assets.resources.dagster_postgres"
RUN_NAME = "ironclad-run"
"""The name of a run's process: its command line is the fork server's."""

_OWN_NAME = Path("/proc/self/comm")


class WarmRun(ForkServerProcess):
    """The process of a run.

    Where the fork server died, which alone hears of its end, it lives on all the same: so says `is_alive`.
    """

    _worker: WorkerIdentity | None = None

    def start(self) -> None:
        """Fork it. Raises `OSError` or `EOFError` where the fork server cannot be reached."""
        super().start()
        with suppress(ProcessLookupError):  # it has ended already
            if self.pid is not None:
                self._worker = identify_process(self.pid)

    def is_alive(self) -> bool:
        """Return whether the process still runs."""
        return super().is_alive() or (self._worker is not None and is_alive(self._worker))

    def run(self) -> None:
        """Work the run off, under a name that tells it from the fork server."""
        with suppress(OSError):
            _OWN_NAME.write_text(RUN_NAME, encoding="ascii")
        super().run()


class WarmRuns(ForkServerContext):
    """The way of `multiprocessing` to start a `WarmRun`, with queues and events to go with it."""

    Process = WarmRun


def open_warm_runs(*, on_postgres: bool = False) -> WarmRuns:
    """Start the fork server, so that the first run finds it warm, and return the way to fork runs of it.

    Args:
        on_postgres: runs keep their events in a Postgres, so what that needs is imported too.
    """
    multiprocessing.set_forkserver_preload([GRAPH, *([POSTGRES] if on_postgres else []), DAGSTER])
    forkserver.ensure_running()
    return WarmRuns()
