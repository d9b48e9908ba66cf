"""Who works off a request: the interface of all executors, the one that starts a process per song, and survival.

The warm executor is in `warm`, the Kubernetes one among the resources. What they share (the hand-off, watching,
the log, judging an ending) is in `runner`. How a job climbs down when memory is out belongs to the caller.
"""

from pathlib import Path
from typing import Protocol

from ironclad_assets.contracts.v1.engine import EngineRequest, EngineResult
from ironclad_assets.engine_host.registry import InstalledEngine
from ironclad_assets.engine_host.runner import run_engine
from ironclad_assets.engine_host.worker_log import WorkerLog
from ironclad_assets.errors import ChildKilled, ErrorCode, IroncladError, JobCanceled
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.sandbox.task import KILLS_SURVIVED
from ironclad_assets.sandbox.watch import SilentWatch, Watch

STALLS_SURVIVED = 1
"""How often a stalled worker is ended and replaced before its work fails."""


class Executor(Protocol):
    """Has an engine work off one request, somewhere."""

    def run(
        self,
        request: EngineRequest,
        *,
        engine: InstalledEngine,
        hand_off: Path,
        limits: Limits,
        log_path: Path,
        watch: Watch | None = None,
    ) -> EngineResult:
        """Return the checked result of `request`; work that was completed before is not done again.

        Args:
            request: what to do; its `output_dir` must exist.
            engine: who does it.
            hand_off: folder in which the request is handed over; created if missing.
            limits: of the worker and everything it starts.
            log_path: file that the facts, the engine's log and its output are appended to, bounded.
            watch: gets the progress, and may cancel.

        Raises:
            IroncladError: with the code of what went wrong; ChildKilled where a kill from outside ended the
                worker, so that another may continue; JobCanceled after a cancel.
        """
        ...


class SubprocessExecutor:
    """Starts a worker for each request, which ends with it."""

    def run(
        self,
        request: EngineRequest,
        *,
        engine: InstalledEngine,
        hand_off: Path,
        limits: Limits,
        log_path: Path,
        watch: Watch | None = None,
    ) -> EngineResult:
        """Do as `Executor.run` says, in a child process of this one."""
        return run_engine(request, engine=engine, hand_off=hand_off, limits=limits, log_path=log_path, watch=watch)


def run_surviving(
    executor: Executor,
    request: EngineRequest,
    *,
    engine: InstalledEngine,
    hand_off: Path,
    limits: Limits,
    log_path: Path,
    watch: Watch | None = None,
) -> EngineResult:
    """Do as `Executor.run` says; a worker that is killed from outside or stalls is replaced, which the log tells.

    The next worker continues at the checkpoint. Kills are survived `KILLS_SURVIVED` times, a stall once.

    Raises:
        IroncladError: whatever `Executor.run` raised last.
    """
    watch = _Onward(watch or SilentWatch())
    log = WorkerLog(log_path)
    kills, stalls = KILLS_SURVIVED, STALLS_SURVIVED
    while True:
        try:
            return executor.run(
                request, engine=engine, hand_off=hand_off, limits=limits, log_path=log_path, watch=watch
            )
        except IroncladError as error:
            kills -= isinstance(error, ChildKilled)
            stalls -= error.code is ErrorCode.ENGINE_STALLED
            passing = isinstance(error, ChildKilled) or error.code is ErrorCode.ENGINE_STALLED
            if not passing or min(kills, stalls) < 0:
                raise
            log.note(f"tried again, continuing at the checkpoint, after {error.code.code}: {error.detail}")
        if watch.canceled():
            raise JobCanceled("canceled before the worker was replaced")


class _Onward:
    """A watch to which progress never goes back, also when another worker takes over."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._fraction = 0.0

    def progress(self, fraction: float, message: str) -> None:
        self._fraction = max(self._fraction, fraction)
        self._watch.progress(self._fraction, message)

    def canceled(self) -> bool:
        return self._watch.canceled()
