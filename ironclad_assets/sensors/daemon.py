"""Dagster's daemon, on one machine at a time: ``python -m ironclad_assets.sensors.daemon -w WORKSPACE``.

It looks every second whether a sensor is due; Dagster's own does every five, which a song that comes soon after
another would wait. Where the ledger is a Postgres, several machines may run the same installation. The daemon of one
works; the others wait here and take over when its lock is gone. A daemon that cannot be sure of its lock any more ends
at once.
"""

import os
import sys
import threading
import time

from dagster._daemon import sensor
from dagster._daemon.cli import main as run_dagster_daemon  # what the script `dagster-daemon` runs

from ironclad_assets.ledger.postgres import SERVER_PATIENCE_S
from ironclad_assets.sensors.leader import Leadership
from ironclad_assets.settings import load_settings

CHECK_S = 5.0
LOOK_S = 1
"""How often Dagster's daemon looks which sensors are due; five seconds are its own choice, and no setting."""

FOR_EVER = float("inf")
EXIT_CODE = 75


def main() -> None:
    """Wait to be the leader where there may be others, then run the daemon until it ends or the lock is lost."""
    settings = load_settings()
    if settings.on_postgres:
        _lead(Leadership(settings.ledger_url, patience_s=SERVER_PATIENCE_S))
    sensor.MIN_INTERVAL_LOOP_TIME = LOOK_S
    sys.argv = ["dagster-daemon", "run", *sys.argv[1:]]  # all that its entry point goes by
    run_dagster_daemon()


def _lead(leadership: Leadership) -> None:
    """Return when no other daemon of this installation works, and end this process where that is not sure any more."""
    if not leadership.take(wait_s=0.0):
        sys.stdout.write("another machine's daemon works; standing by\n")
        sys.stdout.flush()
        leadership.take(wait_s=FOR_EVER)
    sys.stdout.write("this machine's daemon works\n")
    sys.stdout.flush()
    threading.Thread(target=_end_without_lock, args=(leadership,), name="leadership", daemon=True).start()


def _end_without_lock(leadership: Leadership) -> None:
    while leadership.is_held():
        time.sleep(CHECK_S)
    sys.stderr.write("the lock of the daemon is lost; ending, to wait for it again\n")
    sys.stderr.flush()
    os._exit(EXIT_CODE)


if __name__ == "__main__":
    main()
