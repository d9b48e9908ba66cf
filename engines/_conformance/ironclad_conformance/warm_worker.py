"""Drives a warm worker over its socket the way a host does. Nothing more."""

import contextlib
import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ironclad_conformance.worker import TIMEOUT_S, Ending, Work, worker_environment

_START_S = 30.0


@dataclass(frozen=True, slots=True)
class WarmWorker:
    """A process that serves, and its socket."""

    process: subprocess.Popen[bytes]
    path: Path

    def run(self, work: Work, *, stop_when: Callable[[dict[str, Any]], bool] | None = None) -> Ending:
        """Have `work` done; ask for a stop at the first event for which `stop_when` holds.

        The ending's status is the one that the worker tells, or the process's own where it ended instead.
        """
        events: list[tuple[float, dict[str, Any]]] = []
        stopped: float | None = None
        with self.connect() as client, client.makefile("r", encoding="utf-8") as lines:
            say(client, request=str(work.request))
            for line in lines:
                event = json.loads(line)
                if event["kind"] == "ended":
                    return Ending(event["status"], events, _since(stopped))
                events.append((time.monotonic(), event))
                if stop_when is not None and stopped is None and stop_when(event):
                    stopped = time.monotonic()
                    say(client, stop=True)
        return Ending(self.process.wait(timeout=TIMEOUT_S), events, _since(stopped))

    def ping(self) -> dict[str, Any]:
        """Return what the worker answers to a ping."""
        with self.connect() as client, client.makefile("r", encoding="utf-8") as lines:
            say(client, ping=True)
            pong: dict[str, Any] = json.loads(lines.readline())
            return pong

    def connect(self) -> socket.socket:
        """Return a new connection; the worker serves it when it is done with the one before."""
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(TIMEOUT_S)
        client.connect(str(self.path))
        return client


def say(client: socket.socket, **message: object) -> None:
    """Send one message."""
    client.sendall(json.dumps(message).encode() + b"\n")


@contextlib.contextmanager
def start(work: Work) -> Iterator[WarmWorker]:
    """Start a warm worker with the environment that `work` needs; end it at the end."""
    # Not beside the work: a socket's path has 107 bytes at most.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "socket"
        with (work.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [work.python, "-m", "ironclad_harness", "--serve", str(path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=worker_environment(work),
            )
        try:
            _wait_for(path, process=process, work=work)
            yield WarmWorker(process=process, path=path)
        finally:
            process.terminate()
            process.wait(timeout=TIMEOUT_S)


def _wait_for(path: Path, *, process: subprocess.Popen[bytes], work: Work) -> None:
    deadline = time.monotonic() + _START_S
    while not path.is_socket():
        assert process.poll() is None, work.log()[-2000:]
        assert time.monotonic() < deadline, "the worker opens no socket"
        time.sleep(0.02)


def _since(moment: float | None) -> float | None:
    return None if moment is None else time.monotonic() - moment
