"""Killing or failing one process at a chosen system call, with strace.

A zygote (``python -m tests.chaos.faults``) imports everything once and forks a child for each case; the child stops
itself, strace takes hold of it and is told at which call of which name it dies, or what error that call gives; then
it goes on. So each case costs a fork instead of a start of Python, and calls are counted from the writer's first.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import TracebackType

import pytest

CALLS = (
    "openat", "write", "pwrite64", "fsync", "fdatasync", "ftruncate", "fchmod", "chmod", "mkdir", "rmdir", "rename",
    "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "symlink", "copy_file_range", "sendfile",
)  # fmt: skip
"""What a writer changes files with; `openat` makes them, and counts where it opens to write."""

KILLED = -int(signal.SIGKILL)
_ATTACH_S = 10.0
_LINE = re.compile(r"^(?:\d+ +)?(\w+)\(")
_WRITES = re.compile(r"O_(CREAT|WRONLY|RDWR|TRUNC)")


class FaultError(Exception):
    """The machinery itself did not work."""


class Zygote:
    """Forks writers and puts them under strace. Use as a context manager."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.faults"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> "Zygote":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()

    def changes(self, writer: str, folder: Path) -> dict[str, list[int]]:
        """Let the writer finish undisturbed; return, by call, which of its calls (from 1) change something."""
        status = self._run(writer, folder, "-e", f"trace={','.join(CALLS)}")
        if status != 0:
            raise FaultError(f"{writer} failed undisturbed with {status}")
        counted: Counter[str] = Counter()
        changing: dict[str, list[int]] = {}
        for line in self._log.read_text(encoding="utf-8", errors="replace").splitlines():
            if match := _LINE.match(line):
                counted[match[1]] += 1
                if match[1] != "openat" or _WRITES.search(line):
                    changing.setdefault(match[1], []).append(counted[match[1]])
        return changing

    def kill(self, writer: str, folder: Path, *, call: str, at: int) -> int:
        """Kill the writer when it makes its `at`-th `call` (from 1); return its status, `KILLED` if it died of that."""
        return self._run(writer, folder, "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={at}")

    def fail(self, writer: str, folder: Path, *, call: str, at: int, error: str) -> int:
        """Let its `at`-th `call` fail with `error`, such as ENOSPC; return its exit status."""
        return self._run(writer, folder, "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={at}")

    def _run(self, writer: str, folder: Path, *options: str) -> int:
        pid = int(self._ask({"writer": writer, "folder": str(folder)}))
        _await_status(pid, r"^State:\s+T")  # else it would stop itself after it was told to go on
        tracer = subprocess.Popen(["strace", "-q", "-q", "-o", str(self._log), *options, "-p", str(pid)])
        try:
            _await_status(pid, r"^TracerPid:\s+[1-9]")
            os.kill(pid, signal.SIGCONT)
            return int(self._ask({"wait": pid}))
        finally:
            tracer.wait(_ATTACH_S)

    def _ask(self, question: dict[str, object]) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise FaultError("the zygote ended")
        return answer


def require_strace(folder: Path) -> None:
    """Skip the test where strace is missing or may not look at other processes."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    try:
        with Zygote(folder / "strace.log") as zygote:
            zygote.changes("nothing", folder)
    except (FaultError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"strace cannot be used here: {error}")


def _await_status(pid: int, pattern: str) -> None:
    """Return when a line of the status of process `pid` matches; else kill it."""
    deadline = time.monotonic() + _ATTACH_S
    while time.monotonic() < deadline:
        if re.search(pattern, Path(f"/proc/{pid}/status").read_text(encoding="utf-8"), re.MULTILINE):
            return
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    raise FaultError(f"process {pid} is not as expected: {pattern}")


def _serve() -> None:
    """Fork a child for each writer that is asked for, and say how it ended."""
    from tests.chaos.every_writer import WRITERS  # everything that a child needs, imported once

    for line in sys.stdin:
        asked = json.loads(line)
        if "wait" in asked:
            _, status = os.waitpid(asked["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                os.kill(os.getpid(), signal.SIGSTOP)
                _work(WRITERS[asked["writer"]].write, Path(asked["folder"]))
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def _work(write: object, folder: Path) -> None:
    """Write in a child of the zygote, and end it without coming back."""
    assert callable(write)
    try:
        write(folder)
    except Exception as error:  # noqa: BLE001 - any failure is an exit status here
        Path(os.devnull).write_text(repr(error), encoding="utf-8")
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    _serve()
