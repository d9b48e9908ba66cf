"""A small process between a run and a worker that may start processes of its own. Standard library only.

It adopts whatever the worker leaves behind (subreaper) and ends all of it when the worker ends, when it is
told to stop, or when its own parent dies, even by SIGKILL. Started as ``python -I -S -c`` by
`process.ChildProcess`; media tasks, which start nothing, do without one.
"""

import contextlib
import ctypes
import os
import resource
import signal
import sys
import time

from ironclad_assets.sandbox import confine

_PR_SET_CHILD_SUBREAPER = 36

BOOTSTRAP = (
    "import sys; sys.path.insert(0, sys.argv[1]); from ironclad_assets.sandbox.guard import main; main(sys.argv[2:])"
)
"""Run with the arguments: import root, parent's pid, grace in seconds, CPU seconds, file bytes, open files,
then the worker's command."""


def main(arguments: list[str]) -> None:
    """Start the worker, stand guard, end with the worker's own status."""
    parent, grace_s = int(arguments[0]), float(arguments[1])
    cpu_s, file_bytes, open_files = float(arguments[2]), int(arguments[3]), int(arguments[4])
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    watched = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    confine.die_with_parent(parent, signal.SIGTERM)
    confine.offer_to_oom_killer()
    worker = _start(arguments[5:], cpu_s=cpu_s, file_bytes=file_bytes, open_files=open_files, unblock=watched)
    status = _stand_guard(worker, parent=parent, grace_s=grace_s)
    _end_leftovers()
    _leave_like(status)


def _start(command: list[str], *, cpu_s: float, file_bytes: int, open_files: int, unblock: set[signal.Signals]) -> int:
    guard = os.getpid()
    worker = os.fork()
    if worker:
        return worker
    try:
        # A worker needs no network: its model is on disk, its parent at the end of a pipe. Best effort.
        with contextlib.suppress(OSError, AttributeError):
            confine.leave_network()
        confine.die_with_parent(guard)  # after that: entering a user namespace clears the death signal
        confine.set_limits(cpu_s=cpu_s, file_bytes=file_bytes, open_files=open_files)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, unblock)
        os.execvp(command[0], command)  # noqa: S606 - the command is a list made by the engine host
    except OSError as error:
        print(f"cannot start {command[0]}: {error}", file=sys.stderr, flush=True)  # noqa: T201
    os._exit(127)


def _stand_guard(worker: int, *, parent: int, grace_s: float) -> int:
    """Wait for the worker; pass a stop on to it, and end it when the grace is over or the parent is gone."""
    deadline: float | None = None
    while True:
        status = _reap(worker)
        if status is not None:
            return status
        if os.getppid() != parent or (deadline is not None and time.monotonic() >= deadline):
            os.kill(worker, signal.SIGKILL)
        received = signal.sigtimedwait({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}, 0.25)
        if received is not None and received.si_signo != signal.SIGCHLD and deadline is None:
            deadline = time.monotonic() + grace_s
            os.kill(worker, signal.SIGTERM)


def _reap(worker: int) -> int | None:
    """Reap every ended child; return the worker's wait status once it is among them."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == worker:
                found = status
    return found


def _end_leftovers() -> None:
    """Kill and reap adopted processes until none is left; each round may bring their own children."""
    until = time.monotonic() + 2.0
    while time.monotonic() < until:
        for child in _own_children():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.005)
        except ChildProcessError:
            return


def _own_children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:  # noqa: PTH123
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def _leave_like(status: int) -> None:
    """End with the worker's exit code, or by the signal that ended it."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1)
