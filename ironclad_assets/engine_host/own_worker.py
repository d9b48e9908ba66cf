"""A worker that is a child of this process and ends with its request."""

import contextlib
from pathlib import Path

from ironclad_assets.contracts.v1.engine import EngineEvent, EngineRequest
from ironclad_assets.engine_host.ending import Ending
from ironclad_assets.engine_host.environment import worker_command, worker_environment
from ironclad_assets.engine_host.events import EventPipe
from ironclad_assets.engine_host.registry import InstalledEngine
from ironclad_assets.engine_host.worker_log import WorkerLog
from ironclad_assets.errors import ErrorCode, IroncladError, failure
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.sandbox.oom import count_oom_kills
from ironclad_assets.sandbox.process import ChildProcess

GRACE_S = 2.0


class OwnWorker:
    """The worker process behind its guard, with the pipe that its events come through."""

    def __init__(self, process: ChildProcess, *, events: EventPipe) -> None:
        self._process = process
        self._events = events
        self._oom_kills = count_oom_kills()

    @classmethod
    def start(
        cls, request: EngineRequest, *, engine: InstalledEngine, request_path: Path, limits: Limits, log: WorkerLog
    ) -> "OwnWorker":
        """Start a worker for `request`, which is in the file `request_path`; what it prints goes to `log`.

        Raises:
            IroncladError: ``ENGINE_UNAVAILABLE``.
        """
        with contextlib.ExitStack() as stack:
            events = stack.enter_context(contextlib.closing(EventPipe()))
            command = worker_command(request, engine=engine, request_path=request_path, events_fd=events.writing)
            try:
                process = ChildProcess.start(
                    command,
                    limits=limits,
                    env=worker_environment(request, engine=engine),
                    cwd=request_path.parent,
                    pass_fds=(events.writing,),
                    output=log.append,
                    guarded=True,
                    grace_s=GRACE_S,
                )
            except OSError as error:
                detail = f"{request.engine} cannot be started: {error}"
                raise failure(ErrorCode.ENGINE_UNAVAILABLE, detail) from error
            events.close_writing()
            stack.pop_all()
        return cls(process, events=events)

    def events(self, *, timeout_s: float) -> list[EngineEvent]:
        """Return the events that came, waiting up to `timeout_s` for the first."""
        if self._events.ended:
            self._process.wait(timeout_s)
        return self._events.read(timeout_s=timeout_s)

    def ended(self) -> bool:
        """Return whether the worker has ended by itself."""
        return self._process.poll() is not None

    def breach(self) -> tuple[ErrorCode, str] | None:
        """Return which limit is broken now, with a sentence naming the values, or None."""
        return self._process.breach()

    def stop(self, *, because: IroncladError | None) -> Ending:
        """End the worker and all that it started, if it has not ended; return how it ended."""
        status = self._process.stop(grace_s=GRACE_S)
        self._events.close()
        before, after = self._oom_kills, count_oom_kills()
        oom_killed = because is None and before is not None and after is not None and after > before
        return Ending(status, output=self._process.stderr_tail(), oom_killed=oom_killed)
