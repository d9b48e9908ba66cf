"""Tasks for the sandbox tests: each does one thing that a media task must not be able to do, or to hide."""

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ironclad_assets.errors import ErrorCode, Refusal

Report = Callable[[float, str], None]


def echo(report: Report, **arguments: Any) -> dict[str, Any]:
    report(0.5, "half way")
    print("noise on standard output")  # noqa: T201 - decoder libraries do that, too
    return {"arguments": arguments, "environment": sorted(os.environ), "folder": str(Path.cwd())}


def say_nothing(report: Report) -> None:
    return None


def refuse(report: Report) -> dict[str, Any]:
    raise Refusal("the file has 0 bytes", code=ErrorCode.EMPTY_FILE)


def fail(report: Report) -> dict[str, Any]:
    raise KeyError("surprise")


def grow(report: Report) -> dict[str, Any]:
    held = []
    while True:
        held.append(bytearray(8_000_000))
        time.sleep(0.005)


def ask_for_too_much(report: Report) -> dict[str, Any]:
    return {"bytes": len(bytearray(200_000_000_000))}


def spin(report: Report) -> dict[str, Any]:
    while True:
        pass


def sleep(report: Report) -> dict[str, Any]:
    time.sleep(60)
    return {}


def crash(report: Report) -> dict[str, Any]:
    ctypes.string_at(0)
    return {}


def end_by(report: Report, *, number: int) -> dict[str, Any]:
    os.kill(os.getpid(), number)
    time.sleep(60)
    return {}


def end_at_first(report: Report, *, tally: str, times: int) -> dict[str, Any]:
    with Path(tally).open("ab") as file:
        file.write(b".")
    calls = Path(tally).stat().st_size
    if calls <= times:
        os.kill(os.getpid(), 9)
    return {"calls": calls}


def leave(report: Report) -> dict[str, Any]:
    os.write(2, b"last words\n")
    os._exit(3)


def read(report: Report, *, path: str) -> dict[str, Any]:
    return {"content": Path(path).read_text(encoding="utf-8")}


def write(report: Report, *, path: str, size: int = 4) -> dict[str, Any]:
    Path(path).write_bytes(bytes(size))
    return {}


def reach_out(report: Report, *, port: int) -> dict[str, Any]:
    refused = {}
    for name, attempt in (
        ("tcp", lambda: socket.create_connection(("127.0.0.1", port), timeout=1)),
        ("udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port))),
        ("program", lambda: subprocess.run(["/bin/true"], check=True, timeout=5)),
        ("signal", lambda: os.kill(os.getppid(), signal.SIGCONT)),
    ):
        try:
            attempt()
        except OSError as error:
            refused[name] = type(error).__name__
    return {"refused": refused}


def open_too_many(report: Report) -> dict[str, Any]:
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(100_000)]
    return {"opened": len(held)}


def write_many(report: Report, *, folder: str, pause_s: float) -> dict[str, Any]:
    for number in range(50):
        (Path(folder) / str(number)).write_bytes(bytes(100_000))
        time.sleep(pause_s)
    return {}


def open_many(report: Report) -> dict[str, Any]:
    held = []
    try:
        while True:
            held.append(os.dup(2))
    except OSError as error:
        for descriptor in held:
            os.close(descriptor)
        return {"opened": len(held), "error": error.errno}
