"""How work is stopped: by SIGTERM or a client, gracefully; by the parent's death, at once.

The signal's byte arrives in a pipe that a thread reads, so the grace period ends even while the main
thread is inside one long call of a numeric library.
"""

import ctypes
import os
import signal
import threading
import time

GRACE_S = 1.5
STOPPED_STATUS = 128 + signal.SIGTERM

_PR_SET_PDEATHSIG = 1


class Stopped(Exception):  # noqa: N818 - an ending, not an error
    """A stop was asked for; the checkpoint is in place."""


class StopFlag:
    """Raised by SIGTERM. Ends the process by itself when nobody looks for `GRACE_S`.

    It can be waited for with `select`: readable once a stop was asked for.
    """

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._readable = os.eventfd(0, os.EFD_CLOEXEC)

    def install(self) -> None:
        """Take over SIGTERM and SIGINT in this process."""
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(reading, True)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _ignore)
        threading.Thread(target=self._watch, args=(reading,), name="stop", daemon=True).start()

    def check(self) -> bool:
        """Return whether the worker was asked to stop."""
        return self._requested.is_set()

    def fileno(self) -> int:
        return self._readable

    def _watch(self, reading: int) -> None:
        wanted = {signal.SIGTERM, signal.SIGINT}
        while not wanted & set(os.read(reading, 64)):
            pass
        self._requested.set()
        os.eventfd_write(self._readable, 1)
        time.sleep(GRACE_S)
        os._exit(STOPPED_STATUS)


class JobStop:
    """Stops one job of a process that goes on; the process ends if the job does not within `GRACE_S`."""

    def __init__(self, process: StopFlag) -> None:
        self._process = process
        self._requested = threading.Event()
        self._lifted = threading.Event()

    def request(self) -> None:
        """Ask the job to stop; asking again changes nothing."""
        if not self._requested.is_set():
            self._requested.set()
            threading.Thread(target=self._enforce, name="grace", daemon=True).start()

    def check(self) -> bool:
        """Return whether the job, or the whole process, was asked to stop."""
        return self._requested.is_set() or self._process.check()

    def lift(self) -> None:
        """The job has ended: let the process live."""
        self._lifted.set()

    def _enforce(self) -> None:
        if not self._lifted.wait(GRACE_S):
            os._exit(STOPPED_STATUS)


def _ignore(_number: int, _frame: object) -> None:
    """Do nothing here: the wakeup pipe carries the signal to a thread that is always listening."""


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
