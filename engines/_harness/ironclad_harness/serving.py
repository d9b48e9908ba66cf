"""A warm worker: one process that serves jobs over a unix socket and keeps its model between them.

One connection at a time, JSON lines. ``{"request": PATH}`` runs a job: its events come back, then
``{"kind": "ended", "status": N}``. ``{"stop": true}`` or a closed connection stops the job that runs;
``{"ping": true}`` is answered at any time. What a job is belongs to `job`.
"""

import contextlib
import gc
import json
import os
import select
import socket
import struct
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from ironclad_harness.events import Events
from ironclad_harness.job import FAILED_STATUS, Jobs
from ironclad_harness.stopping import STOPPED_STATUS, JobStop, StopFlag

THREADS_VARIABLE = "OMP_NUM_THREADS"
SEND_TIMEOUT_S = 5
"""A client that reads nothing for so long, with the socket's buffer full, counts as gone."""

_LINE_BYTES = 1 << 16


class Gone(Exception):  # noqa: N818 - an ending, not an error
    """The client has closed the connection, or says what is no message."""


class Connection:
    """One client. Only one thread at a time may read from it."""

    def __init__(self, client: socket.socket) -> None:
        timeout = struct.pack("ll", SEND_TIMEOUT_S, 0)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        self._client = client
        self._buffer = b""
        self.events = Events(client.fileno())

    def read(self, *, until: int) -> dict[str, Any] | None:
        """Return the next message; None once the descriptor `until` is readable.

        Raises:
            Gone: there will be no further message.
        """
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._client.fileno(), until], [], [])
            if until in ready:
                return None
            part = self._client.recv(_LINE_BYTES)
            if not part or len(self._buffer) > _LINE_BYTES:
                raise Gone
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            message = json.loads(line)
        except ValueError as error:
            raise Gone from error
        if not isinstance(message, dict):
            raise Gone
        return message


class Server:
    """Serves one connection after the other until the process is asked to stop."""

    def __init__(self, stop: StopFlag) -> None:
        self._stop = stop
        self._jobs = Jobs(threads=os.environ.get(THREADS_VARIABLE))
        self._served = 0

    def run(self, listener: socket.socket) -> None:
        """Serve whoever connects to `listener`."""
        while not self._stop.check():
            ready, _, _ = select.select([listener.fileno(), self._stop.fileno()], [], [])
            if listener.fileno() in ready:
                client, _ = listener.accept()
                with client, contextlib.suppress(Gone, OSError):
                    self._serve(Connection(client))

    def _serve(self, connection: Connection) -> None:
        while connection.events.heard:
            message = connection.read(until=self._stop.fileno())
            if message is None:
                return
            if "request" in message:
                status = self._run(Path(str(message["request"])), connection=connection)
                connection.events.say({"kind": "ended", "status": status})
            elif message.get("ping"):
                self._answer_ping(connection)

    def _run(self, path: Path, *, connection: Connection) -> int:
        """Run one job, with a thread that listens to the client meanwhile; return its status."""
        stop = JobStop(self._stop)
        done = os.eventfd(0, os.EFD_CLOEXEC)
        listening = threading.Thread(target=self._listen, args=(connection, stop, done), name="client", daemon=True)
        connection.events.start()
        listening.start()
        try:
            status = self._run_guarded(path, connection=connection, stop=stop)
        finally:
            stop.lift()
            os.eventfd_write(done, 1)
            listening.join()
            os.close(done)
            connection.events.close()
        self._served += 1
        return status

    def _run_guarded(self, path: Path, *, connection: Connection, stop: JobStop) -> int:
        """Return the job's status whatever it raises; after a failure nothing of it is kept."""
        failed = True
        try:
            status = self._jobs.run(path, events=connection.events, stop=stop.check)
            failed = status == FAILED_STATUS
        except SystemExit as error:  # an engine that ends its process: here it only ends its job
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
        except Exception:  # noqa: BLE001 - this is a door, as the end of a process is one
            traceback.print_exc()
            status = FAILED_STATUS
        if failed:
            self._jobs.keeper.drop()
        gc.collect()  # networks come in cycles; only what the keeper keeps may stay
        sys.stdout.flush()
        sys.stderr.flush()
        return status

    def _listen(self, connection: Connection, stop: JobStop, done: int) -> None:
        try:
            while (message := connection.read(until=done)) is not None:
                if message.get("stop"):
                    stop.request()
                elif message.get("ping"):
                    self._answer_ping(connection)
        except (Gone, OSError):
            stop.request()

    def _answer_ping(self, connection: Connection) -> None:
        pong = {"kind": "pong", "pid": os.getpid(), "served": self._served, "rss_bytes": _resident_bytes()}
        connection.events.say(pong)


def serve(path: Path, *, stop: StopFlag) -> int:
    """Serve at the unix socket `path` until a stop; return the process's exit status."""
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what engines print is log, whoever reads our output
    place = path.absolute()
    try:
        listener = listen(path)
    except OSError as error:
        print(f"cannot serve at {path}: {error}", file=sys.stderr)  # noqa: T201 - nobody is connected yet
        return FAILED_STATUS
    with listener:
        Server(stop).run(listener)
    place.unlink(missing_ok=True)
    return STOPPED_STATUS


def listen(path: Path) -> socket.socket:
    """Return a socket that listens at `path`, for this user alone; a dead worker's socket is replaced.

    Raises:
        OSError: something living is there already, or the path is too long (107 bytes) or not writable.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, contextlib.suppress(ConnectionError):
                probe.connect(str(path))
                raise FileExistsError("another worker serves there")
            path.unlink()
        mask = os.umask(0o177)  # bind makes the file: it must never be open to others
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        listener.listen(8)
    except BaseException:
        listener.close()
        raise
    return listener


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
