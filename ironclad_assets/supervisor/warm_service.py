"""The service of warm workers: ``python -m ironclad_assets.supervisor.warm_service``, started by `up`.

Talks to runs (see `engine_host.warm_protocol`): a lease lasts as long as its connection. Which worker a run
gets belongs to `warm_pool`. Workers die with the service, and the service with the supervisor.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from ironclad_assets.engine_host.warm_lease import WAITING
from ironclad_assets.engine_host.warm_protocol import (
    FromRun,
    LeaseWish,
    Release,
    ToRun,
    socket_address,
    spell,
    warm_socket,
)
from ironclad_assets.errors import ErrorCode, IroncladError
from ironclad_assets.settings import Settings, load_settings
from ironclad_assets.storage import atomic
from ironclad_assets.supervisor.warm_pool import Pool
from ironclad_assets.supervisor.warm_process import WarmProcess

HEARTBEAT_S = 0.5
FIRST_LINE_S = 10.0
LONGEST_IDLE_LOOK_S = 5.0
LARGEST_BACKLOG_BYTES = 256 * 1024
"""Output that a run has not read by then is not sent to it; the worker's log has it."""


async def serve(settings: Settings, *, report: Callable[[str], None]) -> None:
    """Serve runs until canceled; then all workers have ended."""
    pool = Pool(settings, report=report)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, TimeoutError, asyncio.CancelledError):
                await _Conversation(pool, reader=reader, writer=writer).hold()
        finally:
            writer.close()

    atomic.make_folder(settings.home_dir / "run" / "warm")
    for left in (settings.home_dir / "run" / "warm").glob("*.sock"):
        left.unlink(missing_ok=True)
    path = warm_socket(settings.home_dir)
    server = await asyncio.start_unix_server(answer, sock=_listen(path))
    report(f"listening at {path}")
    try:
        while True:
            await asyncio.sleep(min(LONGEST_IDLE_LOOK_S, settings.warm_idle_s / 4))
            await pool.end_idle()
    finally:
        server.close()
        path.unlink(missing_ok=True)
        await pool.close()


class _Conversation:
    """The talk with one run, from its wish to its end."""

    def __init__(self, pool: Pool, *, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._pool = pool
        self._reader = reader
        self._writer = writer

    async def hold(self) -> None:
        """Lease a worker to the run, and take it back when the run says so or is gone."""
        async with asyncio.timeout(FIRST_LINE_S):
            first = await self._hear()
        if first is None or first.lease is None:
            return
        wish = first.lease
        hearing = asyncio.create_task(self._hear())
        try:
            worker = await self._await_lease(wish, hearing=hearing)
            if worker is None:
                return
            how: Release = "keep"
            try:
                worker.begin(self._pass_on)
                text = "it was warm" if worker.jobs else "it was started for this song"
                self._say(ToRun(kind="leased", socket=str(worker.socket_path), pid=worker.pid, text=text))
                last = await hearing
                how = "keep" if last is None or last.release is None else last.release
            finally:
                oom_killed = worker.oom_killed()
                status = await asyncio.shield(self._pool.release(worker, wish=wish, how=how))
            self._say(ToRun(kind="released", status=status, oom_killed=oom_killed))
            await self._writer.drain()
        finally:
            hearing.cancel()

    async def _await_lease(self, wish: LeaseWish, *, hearing: asyncio.Task[FromRun | None]) -> WarmProcess | None:
        """Return a worker; None where the run has left meanwhile, or was refused."""
        leasing = asyncio.create_task(self._pool.lease(wish))
        try:
            while True:
                await asyncio.wait({leasing, hearing}, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
                if leasing.done():
                    return leasing.result()
                if hearing.done():
                    return None
                self._say(ToRun(kind="waiting", text=WAITING))
        except IroncladError as error:
            self._say(ToRun(kind="refused", code=error.code.code, text=error.detail))
            await self._writer.drain()
            return None
        finally:
            if not leasing.done():
                leasing.cancel()
                with contextlib.suppress(asyncio.CancelledError, IroncladError):
                    await leasing

    async def _hear(self) -> FromRun | None:
        """Return the run's next line; None where it is gone or talks nonsense."""
        try:
            return FromRun.model_validate_json(await self._reader.readline())
        except (ValidationError, ValueError, ConnectionError):
            return None

    def _say(self, message: ToRun) -> None:
        if not self._writer.is_closing():
            self._writer.write(spell(message))

    def _pass_on(self, text: str) -> None:
        if self._writer.transport.get_write_buffer_size() < LARGEST_BACKLOG_BYTES:
            self._say(ToRun(kind="output", text=text))


def _listen(path: Path) -> socket.socket:
    """Return a socket that listens at `path` for this user alone, in place of one that a dead service left."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    mask = os.umask(0o177)  # bind makes the file: it must never be open to others
    try:
        with socket_address(path) as address:
            listener.bind(address)
    finally:
        os.umask(mask)
    listener.listen(64)
    return listener


def main() -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""

    def report(text: str) -> None:
        line = f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {text}\n"
        os.write(sys.stderr.fileno(), line.encode())

    async def run() -> None:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        await serve(load_settings(), report=report)

    try:
        asyncio.run(run())
    except asyncio.CancelledError:
        return 0
    except OSError as error:
        report(f"{ErrorCode.SERVICE_DOWN.code}: {error}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
