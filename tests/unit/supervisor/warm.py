"""A service of warm workers in a thread of the test's own process, and another as a process that can be killed."""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ironclad_assets.engine_host.warm_protocol import warm_socket
from ironclad_assets.settings import Settings
from ironclad_assets.supervisor.services import socket_answers
from ironclad_assets.supervisor.warm_service import serve

ROOT = Path(__file__).resolve().parents[3]
SERVICE = "ironclad_assets.supervisor.warm_service"
READY_S = 20.0


@contextlib.contextmanager
def running_service(settings: Settings) -> Iterator[list[str]]:
    """Run the service for `settings` in a thread; give what it reports."""
    said: list[str] = []
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = []

    async def run() -> None:
        task = asyncio.ensure_future(serve(settings, report=said.append))
        loops.append((asyncio.get_running_loop(), task))
        with contextlib.suppress(asyncio.CancelledError):
            await task

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="warm-service")
    thread.start()
    try:
        wait_until(lambda: socket_answers(warm_socket(settings.home_dir)), seconds=READY_S)
        yield said
    finally:
        (loop, task), *_ = loops
        loop.call_soon_threadsafe(task.cancel)
        thread.join(30)
        assert not thread.is_alive()


def start_service(settings: Settings) -> subprocess.Popen[bytes]:
    """Start the service as a process, as `up` does, and return once it answers."""
    environment = {**os.environ, **settings.as_environment()}
    process = subprocess.Popen([sys.executable, "-m", SERVICE], cwd=ROOT, env=environment)
    wait_until(lambda: socket_answers(warm_socket(settings.home_dir)), seconds=READY_S)
    return process


def wait_until(condition: Callable[[], object], *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
