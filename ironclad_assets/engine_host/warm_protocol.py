"""What runs and the service of warm workers say to each other: lines of JSON over a unix socket.

A run asks for a lease and keeps the connection open as long as it works; its end, for whatever reason, is the
end of the lease. The work itself is talked about with the worker, over the worker's own socket.
"""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from ironclad_assets.contracts.v1.base import Contract

SOCKET_NAME = "warm.sock"
LONGEST_ADDRESS = 100
"""Bytes of a path that surely fit into the address of a unix socket."""


class LeaseWish(Contract):
    """Which worker a run wants. `work` names what will be written to: nobody else gets a worker for that."""

    engine: str
    version: str
    model: str
    device: str
    threads: int
    work: str


Release = Literal["keep", "end", "lost"]
"""How a run lets go of its worker: it may stay warm; it must end; it seems to have ended by itself."""


class FromRun(Contract):
    """A line from a run: first its wish, then how it lets go of the worker."""

    lease: LeaseWish | None = None
    release: Release | None = None


class ToRun(Contract):
    """A line to a run.

    ``waiting`` comes twice a second until the worker is there; ``leased`` brings its socket and the process
    to watch; ``output`` is what it prints; ``released`` answers a release: nothing is written any more.
    ``refused`` ends the conversation.
    """

    kind: Literal["waiting", "leased", "output", "released", "refused"]
    text: str = ""
    socket: str = ""
    pid: int = 0
    status: int | None = None
    """Of a worker that has ended: its exit status, negative for a signal."""

    oom_killed: bool = False
    code: str = ""


def warm_socket(home: Path) -> Path:
    """Return where the service of the installation in `home` listens."""
    return home / "run" / SOCKET_NAME


def spell(message: FromRun | ToRun) -> bytes:
    """Return the line that says `message`."""
    return message.model_dump_json(exclude_defaults=True).encode() + b"\n"


def parse_to_run(line: bytes) -> ToRun | None:
    """Return the message in a line, or None where it is none."""
    try:
        return ToRun.model_validate_json(line)
    except ValidationError:
        return None


@contextlib.contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """Give an address for the unix socket `path`, however long that is, for a call to bind or connect."""
    if len(os.fsencode(path)) <= LONGEST_ADDRESS:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def connect(path: Path) -> socket.socket:
    """Return a connection to the unix socket `path`.

    Raises:
        OSError: nobody listens there.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with socket_address(path) as address:
            connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection
