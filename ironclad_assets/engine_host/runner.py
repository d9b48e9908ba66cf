"""What all executors share around one request: hand it over, watch the worker, log, judge the ending.

How a worker comes to be and is stopped is the business of whoever gives one; trying again and choosing
another way after a failure are `executor`'s and the caller's.
"""

import contextlib
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ironclad_assets.contracts.v1.engine import EngineEvent, EngineRequest, EngineResult
from ironclad_assets.engine_host.ending import Ending, conclude
from ironclad_assets.engine_host.own_worker import OwnWorker
from ironclad_assets.engine_host.registry import InstalledEngine
from ironclad_assets.engine_host.result import discard_output, discard_result, read_finished
from ironclad_assets.engine_host.worker_log import WorkerLog
from ironclad_assets.errors import ErrorCode, IroncladError, JobCanceled, failure
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.sandbox.scratch import Scratch
from ironclad_assets.sandbox.watch import SilentWatch, Watch
from ironclad_assets.storage import atomic

REQUEST_NAME = "request.json"
POLL_S = 0.1
STARTING = "starting"
"""What a worker repeats until its engine is made; people are told what takes so long."""

LOADING = "loading the model"


class Worker(Protocol):
    """A worker at work on one request, wherever it is."""

    def events(self, *, timeout_s: float) -> list[EngineEvent]:
        """Return the events that came, waiting up to `timeout_s` for the first."""
        ...

    def ended(self) -> bool:
        """Return whether the work has ended by itself."""
        ...

    def breach(self) -> tuple[ErrorCode, str] | None:
        """Return which limit is broken now, with a sentence naming the values, or None."""
        ...

    def stop(self, *, because: IroncladError | None) -> Ending:
        """End the work if it has not ended (`because` is why then), let go of the worker, and say how it ended."""
        ...


StartWorker = Callable[[Path, WorkerLog], Worker]
"""Starts the work on the request in a file; what the worker prints goes to the log."""


def run_engine(
    request: EngineRequest,
    *,
    engine: InstalledEngine,
    hand_off: Path,
    limits: Limits,
    log_path: Path,
    watch: Watch | None = None,
) -> EngineResult:
    """Do as `executor.Executor.run` says, in a worker of its own that is a child of this process."""

    def start(request_path: Path, log: WorkerLog) -> Worker:
        return OwnWorker.start(request, engine=engine, request_path=request_path, limits=limits, log=log)

    return work_off(request, start=start, hand_off=hand_off, limits=limits, log_path=log_path, watch=watch)


def work_off(
    request: EngineRequest,
    *,
    start: StartWorker,
    hand_off: Path,
    limits: Limits,
    log_path: Path,
    watch: Watch | None = None,
) -> EngineResult:
    """Return the checked result of `request`; work that was completed before is not done again.

    The hand-off is taken back once there is a result, and stays for the operator after a failure.

    Args:
        request: what to do; its `output_dir` must exist.
        start: gives the worker.
        hand_off: folder in which the request is handed over; created if missing.
        limits: `stall_s` bounds the time between two windows, `loading_s` that before the first.
        log_path: file that gets the facts of the hand-off, the engine's log and what the worker prints.
        watch: gets the progress, and may cancel.

    Raises:
        IroncladError: with the code of what went wrong; JobCanceled after a cancel.
    """
    request_path = hand_off / REQUEST_NAME
    finished = read_finished(request)
    if finished is not None:
        _take_back(request_path)
        return finished
    discard_result(request)
    atomic.make_folder(hand_off)
    spelled = request.model_dump_json(indent=1).encode() + b"\n"
    atomic.write_bytes(request_path, spelled)
    log = WorkerLog(log_path)
    log.line(_facts(request))
    log.line(f"handed_over={request_path} sha256={hashlib.sha256(spelled).hexdigest()}")
    worker = start(request_path, log)
    following = _Following(request, limits=limits, watch=watch or SilentWatch(), log=log)
    verdict: IroncladError | None = failure(ErrorCode.INTERNAL, "the run was interrupted")
    try:
        verdict = following.follow(worker)
    finally:
        ending = worker.stop(because=verdict)
    log.note(f"ended status={ending.status}" + (f" because={verdict.describe()}" if verdict is not None else ""))
    if verdict is not None:
        if verdict.code is ErrorCode.LIMIT_DISK:
            discard_result(request)
            discard_output(request)
        raise verdict
    result = conclude(request, ending=ending)
    _take_back(request_path)
    return result


def _take_back(request_path: Path) -> None:
    """Remove the hand-off of finished work; its facts are in the log."""
    with contextlib.suppress(OSError):
        request_path.unlink(missing_ok=True)
        request_path.parent.rmdir()


def _facts(request: EngineRequest) -> str:
    facts = f"engine={request.engine} version={request.engine_version} model={request.model} song={request.song}"
    return f"{facts} job_uuid={request.job_uuid} key={request.key} device={request.device}"


class _Following:
    """One worker under observation."""

    def __init__(self, request: EngineRequest, *, limits: Limits, watch: Watch, log: WorkerLog) -> None:
        self._request = request
        self._limits = limits
        self._watch = watch
        self._log = log
        self._scratch = Scratch([Path(request.output_dir)], most_bytes=limits.scratch_bytes)
        self._fraction = 0.0
        self._windows = -1
        self._started = False
        self._advanced = self._look_again = time.monotonic()

    def follow(self, worker: Worker) -> IroncladError | None:
        """Watch until the work has ended by itself (None), or must be ended for the reason returned."""
        while not worker.ended():
            for event in worker.events(timeout_s=POLL_S):
                self._take(event)
            if time.monotonic() < self._look_again:
                continue
            self._look_again = time.monotonic() + POLL_S
            if verdict := self._judge(worker):
                return verdict
        for event in worker.events(timeout_s=0):
            self._take(event)
        return self._name_breach(self._scratch.look())

    def _judge(self, worker: Worker) -> IroncladError | None:
        """Return why the worker must be ended now, or None."""
        if self._watch.canceled():
            return JobCanceled(f"canceled at {self._fraction:.0%} of the separation")
        if stall := self._find_stall():
            return failure(ErrorCode.ENGINE_STALLED, f"{self._request.engine} {stall}")
        return self._name_breach(worker.breach() or self._scratch.breach())

    def _name_breach(self, breach: tuple[ErrorCode, str] | None) -> IroncladError | None:
        """Return the error that a broken limit means for a separation."""
        if breach is None:
            return None
        code = ErrorCode.OUT_OF_MEMORY if breach[0] is ErrorCode.LIMIT_MEMORY else breach[0]
        return failure(code, f"{self._request.engine} {breach[1]}")

    def _find_stall(self) -> str | None:
        stall_s = self._limits.stall_s
        if stall_s is None:
            return None
        waited_s = time.monotonic() - self._advanced
        if self._started:
            return f"finished no window for {stall_s:.0f} s" if waited_s > stall_s else None
        loading_s = max(stall_s, self._limits.loading_s)
        return f"was not ready for its first window after {loading_s:.0f} s" if waited_s > loading_s else None

    def _take(self, event: EngineEvent) -> None:
        if event.kind == "log":
            self._log.line(event.message[:1000])
            return
        if event.kind == "started" or (event.windows is not None and event.windows > self._windows):
            self._started = self._started or event.kind == "started"
            self._windows = max(self._windows, event.windows or 0)
            self._advanced = time.monotonic()
        self._fraction = max(self._fraction, event.fraction)
        loading = not self._started and event.message == STARTING
        self._watch.progress(self._fraction, LOADING if loading else event.message)
