"""One child process with its limits: started in a group of its own, watched, and surely ended.

The command is the caller's; what it says is the caller's to read. `task` runs media functions through
this, the engine host runs workers (with `guarded=True`, because engines may start processes).
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from ironclad_assets.errors import ErrorCode
from ironclad_assets.sandbox import guard, tree
from ironclad_assets.sandbox.limits import Limits

STDERR_TAIL_BYTES = 8192
IMPORT_ROOT = Path(__file__).resolve().parent.parent.parent


class ChildProcess:
    """A running child, leader of its own process group.

    Attributes:
        pid: process id; with `guarded` the guard's, the worker being its child.
    """

    def __init__(self, process: subprocess.Popen[bytes], *, limits: Limits, tail: "_Tail | None") -> None:
        self._process = process
        self._limits = limits
        self._tail = tail
        self._started = time.monotonic()
        self._swept = False
        self.pid = process.pid
        self.peak_bytes = 0

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        *,
        limits: Limits,
        env: Mapping[str, str],
        cwd: Path = Path("/"),
        pass_fds: Sequence[int] = (),
        log_path: Path | None = None,
        output: Callable[[bytes], None] | None = None,
        guarded: bool = False,
        grace_s: float = 2.0,
    ) -> "ChildProcess":
        """Start `command` and return at once.

        Args:
            command: program and arguments.
            limits: with `guarded`, the guard sets CPU, file size and open files on the worker; without,
                the child does that itself (see `confine`). Memory and time are watched by `breach`.
            env: the whole environment of the child.
            cwd: its working folder.
            pass_fds: descriptors it inherits.
            log_path: file that its output is appended to; None keeps the last 8 KiB in memory.
            output: also called with what it prints, as it comes, from a thread of its own; not with `log_path`.
            guarded: put a guard between, which ends every descendant even if this process is killed.
            grace_s: seconds that a guard leaves the worker between SIGTERM and SIGKILL.

        Raises:
            OSError: the program cannot be started.
        """
        if guarded:
            command = [*_guard_command(limits, grace_s=grace_s), *command]
        with contextlib.ExitStack() as stack:
            log: IO[bytes] | int
            log = stack.enter_context(log_path.open("ab")) if log_path is not None else subprocess.PIPE
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=cwd,
                pass_fds=pass_fds,
                process_group=0,
            )
        tail = None if process.stdout is None else _Tail(process.stdout, output=output)
        return cls(process, limits=limits, tail=tail)

    def poll(self) -> int | None:
        """Return the exit status (negative: ended by that signal), or None while it runs."""
        status = self._process.poll()
        if status is not None:
            self._sweep()
        return status

    def wait(self, timeout_s: float) -> int | None:
        """Return the exit status as soon as it is known, or None after `timeout_s`."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        return self.poll()

    def breach(self) -> tuple[ErrorCode, str] | None:
        """Return which limit is broken now, with a sentence naming the values, or None.

        Ask about twenty times a second; the caller then calls `stop(grace_s=0)`.
        """
        resident_bytes = tree.resident_bytes(self.pid)
        self.peak_bytes = max(self.peak_bytes, resident_bytes)
        return self._limits.find_breach(elapsed_s=time.monotonic() - self._started, resident_bytes=resident_bytes)

    def stop(self, *, grace_s: float = 2.0) -> int:
        """End the process and everything it started, by SIGTERM and after `grace_s` by SIGKILL; return its status."""
        if grace_s > 0 and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s + 1.0)
        if self._process.poll() is None:
            members = tree.family(self.pid)
            tree.kill_group(self.pid, signal.SIGKILL)
            tree.kill_all(members)
        status = self._process.wait(10.0)
        self._sweep()
        if self._tail is not None:
            self._tail.finish()
        return status

    def stderr_tail(self) -> str:
        """Return the last 8 KiB of what the child printed; empty where a log file takes it."""
        if self._tail is None:
            return ""
        return self._tail.text()

    def _sweep(self) -> None:
        """Kill what is left in the process group once its leader is gone; the group's id is not reused before."""
        if not self._swept:
            self._swept = True
            tree.kill_group(self.pid, signal.SIGKILL)


class _Tail:
    """Drains a pipe in a thread of its own and keeps its end."""

    def __init__(self, pipe: IO[bytes], *, output: Callable[[bytes], None] | None) -> None:
        self._pipe = pipe
        self._output = output
        self._kept = b""
        self._thread = threading.Thread(target=self._drain, name="child-output", daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        with self._pipe:
            while block := os.read(self._pipe.fileno(), 4096):
                self._kept = (self._kept + block)[-STDERR_TAIL_BYTES:]
                if self._output is not None:
                    self._output(block)

    def finish(self) -> None:
        """Wait until the pipe has ended; a process that escaped with it is not waited for."""
        self._thread.join(1.0)

    def text(self) -> str:
        self.finish()
        return self._kept.decode("utf-8", "replace")


def _guard_command(limits: Limits, *, grace_s: float) -> list[str]:
    options = (os.getpid(), grace_s, limits.cpu_s, limits.file_bytes, limits.open_files)
    return [sys.executable, "-I", "-S", "-c", guard.BOOTSTRAP, str(IMPORT_ROOT), *map(str, options)]
