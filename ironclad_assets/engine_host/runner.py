"""Run one request of an engine in a worker of its own, and make sure that it ends.

Writes the request, starts the worker behind a guard, passes its progress on, enforces cancel, stall, time
and memory, and turns every ending into a checked result or a published error.
"""

import contextlib
import hashlib
import signal
import time
from pathlib import Path

from ironclad_assets.contracts.v1.engine import EngineEvent, EngineRequest, EngineResult
from ironclad_assets.engine_host.disk import find_disk_trouble
from ironclad_assets.engine_host.environment import worker_command, worker_environment
from ironclad_assets.engine_host.events import EventPipe
from ironclad_assets.engine_host.registry import InstalledEngine
from ironclad_assets.engine_host.result import discard_result, read_finished, read_result
from ironclad_assets.errors import ChildKilled, ErrorCode, IroncladError, JobCanceled, StorageUnavailable, failure
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.sandbox.process import ChildProcess
from ironclad_assets.sandbox.watch import SilentWatch, Watch
from ironclad_assets.storage import atomic

REQUEST_NAME = "request.json"
POLL_S = 0.1
GRACE_S = 2.0


def run_engine(
    request: EngineRequest,
    *,
    engine: InstalledEngine,
    hand_off: Path,
    limits: Limits,
    log_path: Path,
    watch: Watch | None = None,
) -> EngineResult:
    """Return the checked result of `request`; work that was completed before is not done again.

    The hand-off is taken back once there is a result, and stays for the operator after a failure.

    Args:
        request: what to do; its `output_dir` must exist.
        engine: who does it.
        hand_off: folder in which the request is handed over; created if missing.
        limits: of the worker and everything it starts; `stall_s` bounds the time between two windows.
        log_path: file that gets the facts of the hand-off and what the worker prints, bounded; a log that
            cannot be written changes nothing.
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
    atomic.write_bytes(request_path, _spell(request))
    run = _Run(request, limits=limits, watch=watch or SilentWatch())
    with contextlib.closing(EventPipe()) as events:
        worker = _start(request, engine=engine, request_path=request_path, events=events, limits=limits)
        try:
            verdict = run.follow(worker, events=events)
        finally:
            status = worker.stop(grace_s=GRACE_S)
    output = worker.stderr_tail()
    # Best effort: the log is there for people, and its disk may be the one that is full.
    with contextlib.suppress(OSError, StorageUnavailable):
        _write_log(log_path, request=request, request_path=request_path, status=status, run=run, output=output)
    if verdict is not None:
        raise verdict
    result = _conclude(request, status=status, output=output)
    _take_back(request_path)
    return result


def _spell(request: EngineRequest) -> bytes:
    return request.model_dump_json(indent=1).encode() + b"\n"


def _take_back(request_path: Path) -> None:
    """Remove the hand-off of finished work; its facts are in the log."""
    with contextlib.suppress(OSError):
        request_path.unlink(missing_ok=True)
        request_path.parent.rmdir()


def _start(
    request: EngineRequest, *, engine: InstalledEngine, request_path: Path, events: EventPipe, limits: Limits
) -> ChildProcess:
    command = worker_command(engine, request_path=request_path, events_fd=events.writing)
    try:
        worker = ChildProcess.start(
            command,
            limits=limits,
            env=worker_environment(request, engine=engine),
            cwd=request_path.parent,
            pass_fds=(events.writing,),
            guarded=True,
            grace_s=GRACE_S,
        )
    except OSError as error:
        raise failure(ErrorCode.ENGINE_UNAVAILABLE, f"{request.engine} cannot be started: {error}") from error
    events.close_writing()
    return worker


class _Run:
    """One worker under observation."""

    def __init__(self, request: EngineRequest, *, limits: Limits, watch: Watch) -> None:
        self._request = request
        self._limits = limits
        self._watch = watch
        self._fraction = 0.0
        self._windows = -1
        self._advanced = time.monotonic()
        self._look_again = self._advanced
        self.log: list[str] = []

    def follow(self, worker: ChildProcess, *, events: EventPipe) -> IroncladError | None:
        """Watch until the worker has ended by itself (None), or must be ended for the reason returned."""
        while worker.wait(POLL_S if events.ended else 0) is None:
            for event in events.read(timeout_s=POLL_S):
                self._take(event)
            if time.monotonic() < self._look_again:
                continue
            self._look_again = time.monotonic() + POLL_S
            if verdict := self._judge(worker):
                return verdict
        for event in events.read(timeout_s=0):
            self._take(event)
        return None

    def _judge(self, worker: ChildProcess) -> IroncladError | None:
        """Return why the worker must be ended now, or None."""
        if self._watch.canceled():
            return JobCanceled(f"canceled at {self._fraction:.0%} of the separation")
        stall_s = self._limits.stall_s
        if stall_s is not None and time.monotonic() - self._advanced > stall_s:
            detail = f"{self._request.engine} finished no window for {stall_s:.0f} s"
            return failure(ErrorCode.ENGINE_STALLED, detail)
        if breach := worker.breach():
            code, detail = breach
            if code is ErrorCode.LIMIT_MEMORY:
                code = ErrorCode.OUT_OF_MEMORY
            return failure(code, f"{self._request.engine} {detail}")
        return None

    def _take(self, event: EngineEvent) -> None:
        if event.kind == "log":
            self.log.append(event.message[:1000])
            del self.log[:-100]
            return
        if event.kind == "started" or (event.windows is not None and event.windows > self._windows):
            self._windows = max(self._windows, event.windows or 0)
            self._advanced = time.monotonic()
        self._fraction = max(self._fraction, event.fraction)
        self._watch.progress(self._fraction, event.message)


def _conclude(request: EngineRequest, *, status: int, output: str) -> EngineResult:
    """Return the result, or raise what the ending means; a disk that was full explains all else."""
    try:
        return _judge_ending(request, status=status, output=output)
    except IroncladError as error:
        if error.code in (ErrorCode.ENGINE_FAILED, ErrorCode.ENGINE_PROTOCOL):
            trouble = find_disk_trouble(Path(request.output_dir), output=output)
            if trouble is not None:
                raise trouble from error
        raise


def _judge_ending(request: EngineRequest, *, status: int, output: str) -> EngineResult:
    result = read_result(request)
    if result is not None and result.failure is not None:
        raise failure(_engine_code(result.failure.code), f"{request.engine}: {result.failure.detail}")
    if result is not None:
        return result
    if status == 0:
        raise failure(ErrorCode.ENGINE_PROTOCOL, f"{request.engine} ended without a result")
    if status == -signal.SIGKILL:
        raise ChildKilled(f"{request.engine} was killed by the system, as happens when memory is out")
    if status == -signal.SIGXCPU:
        raise failure(ErrorCode.LIMIT_CPU, f"{request.engine} used up its processor time")
    lines = output.strip().splitlines() or ["it printed nothing"]
    raise failure(ErrorCode.ENGINE_FAILED, f"{request.engine} ended with status {status}: {lines[-1][:500]}")


def _engine_code(code: str) -> ErrorCode:
    """Return the published code an engine named; one that nobody published is ``ENGINE_FAILED``."""
    known = ErrorCode.from_code(code)
    return ErrorCode.ENGINE_FAILED if known in (ErrorCode.INTERNAL, ErrorCode.CANCELED) else known


def _write_log(
    log_path: Path, *, request: EngineRequest, request_path: Path, status: int, run: _Run, output: str
) -> None:
    """Write a line of facts, one of the hand-off, the engine's log events, and what it printed: at most 110 KiB."""
    atomic.make_folder(log_path.parent)
    facts = f"engine={request.engine} version={request.engine_version} model={request.model} song={request.song}"
    first = f"{facts} job_uuid={request.job_uuid} key={request.key} status={status}"
    handed = f"handed_over={request_path} sha256={hashlib.sha256(_spell(request)).hexdigest()}"
    text = "".join(f"{line}\n" for line in (first, handed, *run.log)) + output
    atomic.write_bytes(log_path, text.encode("utf-8", "replace"))
