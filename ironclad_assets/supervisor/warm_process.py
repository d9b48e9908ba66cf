"""One warm worker of the service: started behind a guard, asked whether it is idle, ended.

Which worker does what for whom belongs to `warm_pool`. A worker dies with the thread that started it, so all
are started from the service's main thread.
"""

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ironclad_assets.engine_host.environment import make_environment, warm_worker_command
from ironclad_assets.engine_host.registry import InstalledEngine
from ironclad_assets.engine_host.warm_protocol import LeaseWish, connect
from ironclad_assets.engine_host.worker_log import WorkerLog
from ironclad_assets.errors import ChildKilled, ErrorCode, failure
from ironclad_assets.ledger.worker import current_worker
from ironclad_assets.sandbox import tree
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.sandbox.oom import count_oom_kills
from ironclad_assets.sandbox.process import ChildProcess
from ironclad_assets.settings import Settings
from ironclad_assets.supervisor.leftovers import SUPERVISOR_VARIABLE

START_S = 120.0
JOB_NAME = "warm"
"""What the worker's environment says instead of a job."""

GROWTH_FACTOR = 1.5
GROWTH_BYTES = 256 * 1024**2
"""A worker that holds more than its memory after the first job times the factor plus this is replaced."""

_YEARS_S = 10 * 365 * 86400.0
_POLL_S = 0.05
_KILLED = (-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM)
_MEMBERS = 2
"""Guard and worker. More after a job: the engine has left processes behind."""

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class WorkerKey:
    """What a worker must have been started with to serve a wish. `fingerprint` is of the engine's files."""

    engine: str
    version: str
    model: str
    device: str
    threads: int
    fingerprint: str

    @classmethod
    def of(cls, wish: LeaseWish, *, engine: InstalledEngine) -> "WorkerKey":
        """Return the key for `wish` as the engine's files are now."""
        return cls(wish.engine, wish.version, wish.model, wish.device, wish.threads, _fingerprint(engine, wish.model))


class WarmProcess:
    """A worker that serves one job after the other at `socket_path`."""

    def __init__(self, key: WorkerKey, *, folder: Path, log: WorkerLog) -> None:
        self.key = key
        self.socket_path = folder / f"{os.getpid()}-{next(_numbers)}.sock"
        self.jobs = 0
        self.idle_since = time.monotonic()
        self.listener: Callable[[str], None] | None = None
        """Gets what the worker prints, while somebody leases it."""

        self._log = log
        self._loop = asyncio.get_running_loop()
        self._process: ChildProcess | None = None
        self._first_bytes = 0
        self._oom_kills = count_oom_kills()

    @property
    def pid(self) -> int:
        return 0 if self._process is None else self._process.pid

    def launch(self, engine: InstalledEngine, *, settings: Settings) -> None:
        """Start the process. To be called from the main thread.

        Raises:
            IroncladError: ``ENGINE_UNAVAILABLE``.
        """
        key = self.key
        environment = make_environment(engine, model=key.model, threads=key.threads, job=JOB_NAME)
        supervisor = os.environ.get(SUPERVISOR_VARIABLE, str(current_worker()))
        try:
            self._process = ChildProcess.start(
                warm_worker_command(engine, model=key.model, socket_name=self.socket_path.name),
                limits=Limits(
                    cpu_s=_YEARS_S,
                    memory_bytes=settings.engine_memory_bytes,
                    wall_s=_YEARS_S,
                    open_files=settings.engine_open_files,
                ),
                env=environment | {"IRONCLAD_HOME": str(settings.home_dir), SUPERVISOR_VARIABLE: supervisor},
                cwd=self.socket_path.parent,
                output=self._hear,
                guarded=True,
            )
        except OSError as error:
            raise failure(ErrorCode.ENGINE_UNAVAILABLE, f"{key.engine} cannot be started: {error}") from error

    async def await_ready(self) -> None:
        """Return once the worker answers.

        Raises:
            IroncladError: ``ENGINE_UNAVAILABLE``: it ended instead, or never answers.
            ChildKilled: it was killed from outside.
        """
        deadline = time.monotonic() + START_S
        while not await self.answers(within_s=1.0):
            status = self.exit_status()  # asked once: it may end between two questions
            if status in _KILLED:
                raise ChildKilled(f"{self.key.engine}: a warm worker was killed while it started")
            if status is not None or time.monotonic() > deadline:
                said = self._said().strip().splitlines() or ["it printed nothing"]
                raise failure(ErrorCode.ENGINE_UNAVAILABLE, f"{self.key.engine} cannot be kept warm: {said[-1][:500]}")
            await asyncio.sleep(_POLL_S)

    async def answers(self, *, within_s: float) -> bool:
        """Return whether the worker is alive and has no job: it talks to one at a time."""
        with contextlib.suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(within_s):
                reader, writer = await asyncio.open_unix_connection(sock=connect(self.socket_path))
                try:
                    writer.write(b'{"ping": true}\n')
                    answer = json.loads(await reader.readline())
                    return isinstance(answer, dict) and answer.get("kind") == "pong"
                finally:
                    writer.close()
        return False

    def exit_status(self) -> int | None:
        """Return how the process ended, or None while it lives."""
        return None if self._process is None else self._process.poll()

    async def has_ended(self, *, within_s: float) -> bool:
        """Return whether the process has ended, waiting for that up to `within_s`."""
        deadline = time.monotonic() + within_s
        while self.exit_status() is None and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_S)
        return self.exit_status() is not None

    def oom_killed(self) -> bool:
        """Return whether the kernel's out-of-memory killer struck since the current job began."""
        now = count_oom_kills()
        return now is not None and self._oom_kills is not None and now > self._oom_kills

    def begin(self, listener: Callable[[str], None]) -> None:
        """Note that a job begins, whose run hears what the worker prints."""
        self._oom_kills = count_oom_kills()
        self.listener = listener

    def why_not_again(self, *, memory_bytes: int) -> str | None:
        """Return why the worker should not serve another job, or None."""
        members = tree.family(self.pid)
        if len(members) > _MEMBERS:
            return f"it left {len(members) - _MEMBERS} processes behind"
        used = tree.resident_bytes(self.pid)
        self.jobs += 1
        if self.jobs == 1:
            self._first_bytes = used
        allowed = min(memory_bytes, int(GROWTH_FACTOR * self._first_bytes) + GROWTH_BYTES)
        if used > allowed:
            return f"it holds {used // 1024**2} MiB, more than {allowed // 1024**2} MiB"
        return None

    async def end(self, *, grace_s: float = 0.0) -> int | None:
        """End the process and all that it started; return its exit status."""
        if self._process is None:
            return None
        status = await asyncio.to_thread(self._process.stop, grace_s=grace_s)
        self.socket_path.unlink(missing_ok=True)
        return status

    def _said(self) -> str:
        return "" if self._process is None else self._process.stderr_tail()

    def _hear(self, block: bytes) -> None:
        """Take what the worker prints, in the thread that drains its output."""
        self._log.append(block)
        with contextlib.suppress(RuntimeError):  # the service ends, and its loop is closed
            self._loop.call_soon_threadsafe(self._pass_on, block.decode("utf-8", "replace"))

    def _pass_on(self, text: str) -> None:
        if self.listener is not None:
            self.listener(text)


def _fingerprint(engine: InstalledEngine, model: str) -> str:
    """Return a hash that changes with the engine's and the harness' files and with its environment."""
    files = [path for folder in engine.import_path() for path in folder.resolve().rglob("*.py")]
    marker = engine.python(model).parent.parent / "pyvenv.cfg"
    digest = hashlib.sha256()
    for path in (*sorted(files), engine.folder / "engine.toml", marker):
        with contextlib.suppress(OSError):
            facts = path.stat()
            digest.update(f"{path} {facts.st_mtime_ns} {facts.st_size}\n".encode())
    return digest.hexdigest()
