"""Events to the parent: one line of JSON each, over a descriptor that nothing else writes to.

A thread repeats the last progress, so that the parent hears from a living worker within half a second even
while one window takes minutes. `windows` counts finished windows: it alone tells work from waiting.
"""

import os
import threading
from collections.abc import Mapping

from ironclad_harness.protocol import to_json

HEARTBEAT_S = 0.25
"""A library that is being loaded may hold all threads of the interpreter for half a second (TensorFlow)."""

_JOIN_S = 10
"""Longer than one write may wait for a client: the descriptor may be closed after `Events.close`."""


class Events:
    """The worker's voice. Without a descriptor it is silent; a parent that is gone does not matter.

    A worker that serves uses one for every connection: `start` and `close` stand around each job.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._last: Mapping[str, object] = {}
        self._closed = threading.Event()
        self._heart: threading.Thread | None = None
        if descriptor is not None:
            os.set_inheritable(descriptor, False)

    @property
    def heard(self) -> bool:
        """Whether there is somebody to talk to."""
        return self._descriptor is not None

    def start(self) -> None:
        """Begin to repeat the last progress four times a second."""
        self._last = {"kind": "progress", "fraction": 0.0, "message": "starting", "windows": 0}
        self.say(self._last)
        self._closed = threading.Event()
        self._heart = threading.Thread(target=self._repeat, args=(self._closed,), name="heartbeat", daemon=True)
        self._heart.start()

    def started(self, *, resumed_frames: int, fraction: float) -> None:
        """Say that the work begins, after `resumed_frames` frames of earlier work."""
        self.say({"kind": "started", "fraction": fraction, "resumed_frames": resumed_frames})

    def progress(self, fraction: float, *, message: str, chunk: int, windows: int) -> None:
        """Say how far the work is, with the number of finished chunks and windows."""
        event = {"kind": "progress", "fraction": fraction, "message": message, "chunk": chunk, "windows": windows}
        with self._lock:
            self._last = event
            self._write(event)

    def log(self, message: str) -> None:
        """Pass on a line for the log."""
        self.say({"kind": "log", "message": message})

    def close(self) -> None:
        """End the repetition: nothing comes after this by itself."""
        self._closed.set()
        if self._heart is not None:
            self._heart.join(timeout=_JOIN_S)
            self._heart = None

    def say(self, event: Mapping[str, object]) -> None:
        """Send one line."""
        with self._lock:
            self._write(event)

    def _repeat(self, closed: threading.Event) -> None:
        while not closed.wait(HEARTBEAT_S):
            with self._lock:
                self._write(self._last)

    def _write(self, event: Mapping[str, object]) -> None:
        line = memoryview(to_json(event))
        while line and self._descriptor is not None:
            try:
                line = line[os.write(self._descriptor, line) :]
            except OSError:
                self._descriptor = None
