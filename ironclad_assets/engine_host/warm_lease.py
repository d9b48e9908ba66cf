"""A run's lease of a warm worker: asked for, waited for, and let go of, over a connection to the service."""

import contextlib
import select
import socket
import time
from pathlib import Path

from ironclad_assets.engine_host.events import Lines
from ironclad_assets.engine_host.warm_protocol import FromRun, LeaseWish, Release, ToRun, connect, parse_to_run, spell
from ironclad_assets.engine_host.worker_log import WorkerLog
from ironclad_assets.errors import ErrorCode, JobCanceled, failure
from ironclad_assets.sandbox.process import STDERR_TAIL_BYTES
from ironclad_assets.sandbox.watch import Watch

WAITING = "waiting for a warm worker"
SILENCE_S = 30.0
"""A service that says nothing for so long, which speaks twice a second, counts as gone."""

_POLL_S = 0.2
_BLOCK_BYTES = 64 * 1024


class ServiceGoneError(Exception):
    """There is no service of warm workers, or there is none any more."""


class Lease:
    """The connection to the service. What the worker prints comes over it and goes to `log`."""

    def __init__(self, connection: socket.socket, *, log: WorkerLog) -> None:
        self._connection = connection
        self._log = log
        self._lines = Lines()
        self._tail = ""
        self.gone = False
        """Whether the service has closed the connection: its workers end with it."""

    @classmethod
    def ask(cls, path: Path, *, wish: LeaseWish, log: WorkerLog) -> "Lease":
        """Ask the service at the socket `path` for a worker.

        Raises:
            ServiceGoneError: nobody listens there.
        """
        try:
            connection = connect(path)
        except OSError as error:
            raise ServiceGoneError(f"{path}: {error.strerror or error}") from error
        lease = cls(connection, log=log)
        lease._send(FromRun(lease=wish))
        return lease

    def wait(self, *, watch: Watch) -> ToRun:
        """Return the message ``leased`` when there is a worker.

        Raises:
            JobCanceled: the watch asked for it.
            IroncladError: the service refuses, with its code.
            ServiceGoneError: the service has ended.
        """
        heard = time.monotonic()
        while True:
            for message in self.read(timeout_s=_POLL_S):
                heard = time.monotonic()
                if message.kind == "leased":
                    return message
                if message.kind == "refused":
                    raise failure(ErrorCode.from_code(message.code), message.text)
                if message.kind == "waiting":
                    watch.progress(0.0, message.text or WAITING)
            if self.gone or time.monotonic() - heard > SILENCE_S:
                raise ServiceGoneError("the service of warm workers ended, or hangs, while this run waited")
            if watch.canceled():
                raise JobCanceled("canceled while waiting for a warm worker")

    def read(self, *, timeout_s: float) -> list[ToRun]:
        """Return the messages that came, waiting up to `timeout_s` for the first; output goes to the log."""
        if self.gone or not select.select([self._connection], [], [], timeout_s)[0]:
            return []
        try:
            block = self._connection.recv(_BLOCK_BYTES)
        except OSError:
            block = b""
        self.gone = not block
        messages = []
        for message in map(parse_to_run, self._lines.feed(block)):
            if message is not None and message.kind == "output":
                self._log.append(message.text.encode("utf-8", "replace"))
                self._tail = (self._tail + message.text)[-STDERR_TAIL_BYTES:]
            elif message is not None:
                messages.append(message)
        return messages

    def release(self, how: Release, *, within_s: float) -> ToRun | None:
        """Let go of the worker, and return how the service answers once nothing is written any more.

        Args:
            how: whether it may stay warm.
            within_s: how long to wait.

        Returns:
            None where the service is gone or does not answer.
        """
        self._send(FromRun(release=how))
        deadline = time.monotonic() + within_s
        while not self.gone and time.monotonic() < deadline:
            for message in self.read(timeout_s=_POLL_S):
                if message.kind == "released":
                    return message
        return None

    def output(self) -> str:
        """Return the end of what the worker printed during this lease."""
        return self._tail

    def fileno(self) -> int:
        return self._connection.fileno()

    def close(self) -> None:
        self._connection.close()

    def _send(self, message: FromRun) -> None:
        # One that is gone is noticed by reading.
        with contextlib.suppress(OSError):
            self._connection.sendall(spell(message))
