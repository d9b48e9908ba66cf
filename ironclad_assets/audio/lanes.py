"""Runs jobs of several lanes on a few threads: those of one lane in their order, one at a time.

A lane is a file being encoded: what it becomes cannot depend on the other lanes or on the number of threads.
Media libraries and NumPy let go of the interpreter while they compute, so threads suffice.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

_DEPTH = 3
"""Jobs that may wait in one lane: enough to keep all threads busy, few enough to bound memory."""

Job = Callable[[], None]


class Lanes:
    """A few threads and the lanes that share them; a context manager that ends when all jobs have ended."""

    def __init__(self, *, threads: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=max(1, threads))

    def open_lane(self) -> "Lane":
        """Return a new lane."""
        return Lane(self._pool)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True)


class Lane:
    """Jobs that follow one another. After one has failed, the others are left out."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._room = threading.Semaphore(_DEPTH)
        self._lock = threading.Lock()
        self._jobs: deque[Job] = deque()
        self._running = False
        self._error: BaseException | None = None

    def post(self, job: Job) -> None:
        """Run `job` after those posted before; wait while too many are waiting.

        Raises:
            BaseException: what an earlier job raised.
        """
        self._raise_error()
        self._room.acquire()
        with self._lock:
            self._jobs.append(job)
            start, self._running = not self._running, True
        if start:
            self._pool.submit(self._step)

    def drain(self) -> None:
        """Wait for all jobs posted.

        Raises:
            BaseException: what one of them raised.
        """
        for _ in range(_DEPTH):
            self._room.acquire()
        self._room.release(_DEPTH)
        self._raise_error()

    def _step(self) -> None:
        """Run one job, then queue up again behind the other lanes."""
        with self._lock:
            job = self._jobs.popleft()
        try:
            if self._error is None:
                job()
        except BaseException as error:  # noqa: BLE001 - carried over to whoever posts or drains
            self._error = error
        with self._lock:
            self._running = bool(self._jobs)
            again = self._running
        if again:
            self._pool.submit(self._step)
        self._room.release()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error
