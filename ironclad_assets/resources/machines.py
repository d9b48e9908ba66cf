"""Which machine a run is on, and whether it is heard of: where several machines share one Postgres.

A run tells its host once and lives by touching its row; who looks goes by its own clock, so that clocks need not
agree. On one machine nothing of this is needed: a process is there or not.
"""

import socket
import time
from collections.abc import Callable
from datetime import datetime

import dagster as dg

HOST_TAG = "ironclad/host"
"""Tag of a run on Postgres: the machine that its process is on."""

BEAT_S = 15.0
SILENT_S = 90.0
"""A run of another machine that was not heard of for so long counts as dead."""


def is_elsewhere(run: dg.DagsterRun) -> bool:
    """Return whether a run's process is on another machine, so that it cannot be seen from here."""
    host = socket.gethostname()
    return run.tags.get(HOST_TAG, host) != host


class OtherMachines:
    """When this process last heard of each run that is on another machine."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard: dict[str, tuple[datetime, float]] = {}
        self._looked_at = clock()

    def begin_look(self) -> None:
        """Note that all runs are looked at now; after a long pause nothing is concluded from what was heard before."""
        now = self._clock()
        if now - self._looked_at > SILENT_S / 2:  # the database was away, and nobody could be heard
            self._heard.clear()
        self._looked_at = now

    def is_silent(self, record: dg.RunRecord) -> bool:
        """Return whether a run was not heard of for `SILENT_S` seconds, all of which this process looked at it."""
        run_id, now = record.dagster_run.run_id, self._clock()
        told, since = self._heard.get(run_id, (None, now))
        if told != record.update_timestamp:
            self._heard[run_id] = (record.update_timestamp, now)
            return False
        return now - since >= SILENT_S
