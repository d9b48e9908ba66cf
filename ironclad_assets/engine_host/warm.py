"""The warm executor: a job on a worker that keeps its model loaded from one song to the next.

Workers belong to a service of the supervisor; a run leases one, talks to it directly, watches it like a child
of its own, and gives it back. Where there is no service the job gets a worker of its own, and its log says so.
"""

import json
import select
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from ironclad_assets.contracts.v1.engine import EngineEvent, EngineRequest, EngineResult
from ironclad_assets.engine_host.ending import Ending
from ironclad_assets.engine_host.events import Lines, parse_event
from ironclad_assets.engine_host.own_worker import OwnWorker
from ironclad_assets.engine_host.registry import InstalledEngine
from ironclad_assets.engine_host.runner import Worker, work_off
from ironclad_assets.engine_host.warm_lease import Lease, ServiceGoneError
from ironclad_assets.engine_host.warm_protocol import LeaseWish, Release, ToRun, connect
from ironclad_assets.engine_host.worker_log import WorkerLog
from ironclad_assets.errors import ErrorCode, IroncladError, JobCanceled
from ironclad_assets.ledger.worker import WorkerIdentity, identify_process, is_alive
from ironclad_assets.sandbox import tree
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.sandbox.watch import SilentWatch, Watch

STOP_S = 2.0
"""How long a job may take to stop at its checkpoint; the worker ends itself a little before that."""

RELEASE_S = 8.0
GONE_S = 4.0
STOPPED_STATUS = 128 + signal.SIGTERM
_BLOCK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class WarmExecutor:
    """Has requests worked off by the service that listens at `socket_path`."""

    socket_path: Path

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
        """Do as `executor.Executor.run` says, on a warm worker, or on one of its own where there is no service."""
        watching = watch or SilentWatch()

        def start(request_path: Path, log: WorkerLog) -> Worker:
            try:
                return WarmWorker.lease(
                    request,
                    socket_path=self.socket_path,
                    request_path=request_path,
                    limits=limits,
                    log=log,
                    watch=watching,
                )
            except ServiceGoneError as error:
                log.note(f"no warm workers, so this song gets a worker of its own: {error}")
            return OwnWorker.start(request, engine=engine, request_path=request_path, limits=limits, log=log)

        return work_off(request, start=start, hand_off=hand_off, limits=limits, log_path=log_path, watch=watching)


class WarmWorker:
    """A leased worker at work on one request."""

    def __init__(self, lease: Lease, *, leased: ToRun, worker: WorkerIdentity, limits: Limits) -> None:
        self._lease = lease
        self._worker = worker
        self._limits = limits
        self._connection = connect(Path(leased.socket))
        self._lines = Lines()
        self._status: int | None = None
        self._lost = False
        self._started = time.monotonic()
        self._cpu_s = tree.cpu_seconds(worker.pid)

    @classmethod
    def lease(
        cls,
        request: EngineRequest,
        *,
        socket_path: Path,
        request_path: Path,
        limits: Limits,
        log: WorkerLog,
        watch: Watch,
    ) -> "WarmWorker":
        """Wait for a worker and give it the request in the file `request_path`.

        Raises:
            ServiceGoneError: there is no service, or the worker was gone before it began.
            JobCanceled: while waiting.
            IroncladError: the service cannot start such a worker.
        """
        wish = LeaseWish(
            engine=request.engine,
            version=request.engine_version,
            model=request.model,
            device=request.device,
            threads=request.threads,
            work=request.output_dir,
        )
        lease = Lease.ask(socket_path, wish=wish, log=log)
        try:
            leased = lease.wait(watch=watch)
            worker = cls(lease, leased=leased, worker=identify_process(leased.pid), limits=limits)
            worker._send({"request": str(request_path.resolve())})
        except OSError as error:
            lease.close()
            raise ServiceGoneError(f"the leased worker is gone: {error}") from error
        except BaseException:
            lease.close()
            raise
        log.note(f"leased the warm worker pid={leased.pid}: {leased.text}")
        return worker

    def events(self, *, timeout_s: float) -> list[EngineEvent]:
        """Return the events that came, waiting up to `timeout_s` for the first."""
        work, lease = self._connection.fileno(), self._lease.fileno()
        ready = select.select([work] if self._lease.gone else [work, lease], [], [], timeout_s)[0]
        if lease in ready:
            self._lease.read(timeout_s=0)
        return self._read() if work in ready else []

    def ended(self) -> bool:
        """Return whether the work has ended by itself, or the worker is gone."""
        return self._status is not None or self._lost

    def breach(self) -> tuple[ErrorCode, str] | None:
        """Return which limit is broken now, with a sentence naming the values, or None."""
        cpu_s = tree.cpu_seconds(self._worker.pid) - self._cpu_s
        if cpu_s > self._limits.cpu_s:
            return ErrorCode.LIMIT_CPU, f"used {cpu_s:.0f} s of processor time; allowed are {self._limits.cpu_s:.0f} s"
        elapsed_s = time.monotonic() - self._started
        return self._limits.find_breach(elapsed_s=elapsed_s, resident_bytes=tree.resident_bytes(self._worker.pid))

    def stop(self, *, because: IroncladError | None) -> Ending:
        """End the job, give the worker back, and say how the job ended.

        A worker stays warm after completed work and after a job that stopped at its checkpoint. After anything
        else it is ended: the next job shall not meet what this one left.
        """
        if isinstance(because, JobCanceled):
            self._ask_to_stop()
        self._connection.close()
        released = self._lease.release(self._how_to_release(), within_s=RELEASE_S)
        self._lease.close()
        if released is None:
            self._make_sure_it_is_gone()
        status = self._status
        if status is None:
            status = -signal.SIGKILL if released is None or released.status is None else released.status
        oom_killed = because is None and released is not None and released.oom_killed
        return Ending(status, output=self._lease.output(), oom_killed=oom_killed)

    def _how_to_release(self) -> Release:
        if self._status is None:
            return "lost" if self._lost else "end"
        return "keep" if self._status in (0, STOPPED_STATUS) else "end"

    def _ask_to_stop(self) -> None:
        self._send({"stop": True})
        deadline = time.monotonic() + STOP_S
        while not self.ended() and time.monotonic() < deadline:
            self.events(timeout_s=0.05)

    def _make_sure_it_is_gone(self) -> None:
        """Without its service the worker is ended by its guard; whatever is not, is ended here."""
        deadline = time.monotonic() + GONE_S
        while is_alive(self._worker):
            if time.monotonic() > deadline:
                tree.kill_all(tree.family(self._worker.pid))
                return
            time.sleep(0.05)

    def _send(self, message: dict[str, object]) -> None:
        try:
            self._connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self._lost = True

    def _read(self) -> list[EngineEvent]:
        try:
            block = self._connection.recv(_BLOCK_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except OSError:
            block = b""
        self._lost = self._lost or not block
        events = []
        for line in self._lines.feed(block):
            if (event := parse_event(line)) is not None:
                events.append(event)
            elif (status := _parse_end(line)) is not None:
                self._status = status
        return events


def _parse_end(line: bytes) -> int | None:
    """Return the status in a worker's last line about a job, or None for any other line."""
    try:
        message = json.loads(line)
    except ValueError:
        return None
    if not isinstance(message, dict) or message.get("kind") != "ended":
        return None
    status = message.get("status")
    return status if isinstance(status, int) else 1
