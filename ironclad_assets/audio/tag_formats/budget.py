"""Ends a piece of work that takes more processor time than it is worth, while the rest of the child goes on.

The child's own limit (`sandbox`) ends everything at once. Libraries that read tags can be made to go round in circles
by a file (an atom of no length, a million frames), and then the song's other tags need not be lost with it.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class BudgetSpent(BaseException):
    """The work was given up. No `Exception`, because what reads hostile files catches those wherever it can go on."""


_AGAIN_S = 0.1
"""Processor time after which the body is interrupted once more."""


@contextlib.contextmanager
def cpu_budget(seconds: float, *, purpose: str) -> Iterator[None]:
    """Raise in the body once it has taken that much processor time; only the main thread can be interrupted.

    The body's call into a library written in C ends before it is. Python drops what is raised while it collects
    garbage, so it is raised again until the body ends.

    Raises:
        BudgetSpent: naming `purpose`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    in_body = True

    def give_up(_signal: int, _frame: FrameType | None) -> None:
        if in_body:
            raise BudgetSpent(f"{purpose} took more than {seconds:g} s of processor time")

    before = signal.signal(signal.SIGPROF, give_up)
    signal.setitimer(signal.ITIMER_PROF, seconds, _AGAIN_S)
    try:
        yield
    finally:
        in_body = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
