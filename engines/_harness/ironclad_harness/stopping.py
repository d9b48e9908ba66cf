"""How a worker is stopped: by SIGTERM, gracefully; by its parent's death, at once.

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
    """SIGTERM came; the checkpoint is in place."""


class StopFlag:
    """Raised by SIGTERM. Ends the process by itself when nobody looks for `GRACE_S`."""

    def __init__(self) -> None:
        self._requested = threading.Event()

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

    def _watch(self, reading: int) -> None:
        wanted = {signal.SIGTERM, signal.SIGINT}
        while not wanted & set(os.read(reading, 64)):
            pass
        self._requested.set()
        time.sleep(GRACE_S)
        os._exit(STOPPED_STATUS)


def _ignore(_number: int, _frame: object) -> None:
    """Do nothing here: the wakeup pipe carries the signal to a thread that is always listening."""


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
