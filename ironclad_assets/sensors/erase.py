"""Carries out deletions where Dagster can be reached: ``python -m ironclad_assets.sensors.erase``, and its sensor.

While the system runs, the sensor `eraser` starts this process when something is to be deleted; a command that finds
no system running starts it itself. It works until nothing waits, or until its patience is up; whatever moment it is
killed, the next one goes on.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable

import dagster as dg
from filelock import FileLock, Timeout

from ironclad_assets.assets.lifeline import follow_supervisor
from ironclad_assets.errors import IroncladError
from ironclad_assets.ledger.rules import Rules
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.sensors.erase_dagster import DagsterTraces
from ironclad_assets.servers.notes import note_entry
from ironclad_assets.settings import Settings, load_settings
from ironclad_assets.storage import atomic
from ironclad_assets.storage.opening import open_store
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.erase.eraser import Eraser, Progress
from ironclad_assets.upkeep.running import is_system_running

PATIENCE_S = 300.0
"""How long one process waits for runs to stop; the sensor starts another for what is left."""

LOOK_S = 2.0
AGAIN_S = 30.0
"""Pause of the sensor after a process that could not finish."""

DONE, WAITING, FAILED = 0, 3, 1


def main() -> int:
    """Carry out what was requested; return 0 when nothing is left, 3 where something waits, 1 where it cannot be."""
    follow_supervisor()
    settings = load_settings()
    atomic.make_folder(settings.home_dir / "run")
    try:
        with FileLock(settings.home_dir / "run" / "erase.lock", timeout=0):
            return _work(settings)
    except Timeout:
        sys.stdout.write("another process is at it\n")
        return WAITING
    except IroncladError as error:
        sys.stdout.write(f"paused: {error.describe()}\n")
        return FAILED


def _work(settings: Settings) -> int:
    store = open_store(settings)
    ledger = Ledger(settings.ledger_url, rules=Rules.from_settings(settings))
    ledger.check_schema()
    with ledger.deletions.take_turn() as mine, dg.DagsterInstance.get() as instance:
        if not mine:
            raise Timeout("deletions")
        progress = erase_requested(instance, settings=settings, ledger=ledger, store=store, patience_s=PATIENCE_S)
    for receipt in progress.done:
        sys.stdout.write(f"{receipt} is done\n")
    for receipt, why in progress.waiting.items():
        sys.stdout.write(f"{receipt} waits: {why}\n")
    return WAITING if progress.waiting else DONE


def erase_requested(
    instance: dg.DagsterInstance,
    *,
    settings: Settings,
    ledger: Ledger,
    store: Store,
    patience_s: float,
    sleep: Callable[[float], None] = time.sleep,
) -> Progress:
    """Carry out every deletion that was requested; wait up to `patience_s` for runs that are still stopping.

    Raises:
        StorageUnavailable: the store or a database is away; the requests stay.
    """
    deadline = time.monotonic() + patience_s
    done: tuple[str, ...] = ()
    while True:
        # Several machines may share a server, and another one may run what this one does not.
        alone = not settings.on_postgres and not is_system_running(settings)
        elsewhere = DagsterTraces(instance, home=settings.dagster_home, alone=alone)
        progress = Eraser(settings=settings, ledger=ledger, store=store, elsewhere=elsewhere, alone=alone).work()
        done += progress.done
        if progress.done:
            note_entry(settings)  # media servers look at what is left
        if progress.waiting.keys() <= progress.failed or time.monotonic() >= deadline:
            return Progress(done, progress.waiting, progress.failed)
        sleep(LOOK_S)


class EraserService:
    """Starts the process that erases, from the code server, one at a time."""

    def __init__(self, *, ledger: Ledger, settings: Settings) -> None:
        self._ledger = ledger
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._not_before = 0.0

    def tick(self) -> str:
        """Start the process where something is to be deleted, and say in a line how it stands."""
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return "deleting"
            self._process = None
            self._not_before = time.monotonic() + (0.0 if code == DONE else AGAIN_S)
        count = len(self._ledger.deletions.open())
        if not count:
            return "nothing is to be deleted"
        if time.monotonic() < self._not_before:
            return f"{count} deletions wait; see erase.log"
        self._process = self._start()
        return f"{count} deletions begun"

    def close(self) -> None:
        """Leave no process behind."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start(self) -> subprocess.Popen[bytes]:
        folder = self._settings.home_dir / "logs"
        atomic.make_folder(folder)
        with (folder / "erase.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "ironclad_assets.sensors.erase"],
                env={**os.environ, **self._settings.as_environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )


def build_eraser(service: EraserService) -> dg.SensorDefinition:
    """Return the sensor whose ticks are those of `service`."""

    @dg.sensor(
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Carries out what pipelinectl delete-song and delete-user asked for.",
    )
    def eraser(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        return dg.SkipReason(service.tick())

    return eraser


if __name__ == "__main__":
    sys.exit(main())
