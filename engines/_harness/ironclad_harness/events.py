"""Events to the parent: one line of JSON each, over a descriptor that nothing else writes to.

A thread repeats the last progress, so that the parent hears from a living worker every half second even
while one window takes minutes. `windows` counts finished windows: it alone tells work from waiting.
"""

import json
import os
import threading

HEARTBEAT_S = 0.5

_STDOUT, _STDERR = 1, 2


def own_descriptor(descriptor: int | None) -> int | None:
    """Return the descriptor for events to which nothing else writes.

    A container has no descriptor of its own to its parent, only standard output: events keep that one, and
    what the engine prints goes to standard error from now on. The two streams are told apart line by line.
    """
    if descriptor != _STDOUT:
        return descriptor
    duplicate = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    return duplicate


class Events:
    """The worker's voice. Without a descriptor it is silent; a parent that is gone does not matter."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._last: dict[str, object] = {"kind": "progress", "fraction": 0.0, "message": "starting", "windows": 0}
        if descriptor is not None:
            os.set_inheritable(descriptor, False)

    def start(self) -> None:
        """Begin to repeat the last progress twice a second."""
        self._send(self._last)
        threading.Thread(target=self._repeat, name="heartbeat", daemon=True).start()

    def started(self, *, resumed_frames: int, fraction: float) -> None:
        """Say that the work begins, after `resumed_frames` frames of earlier work."""
        self._send({"kind": "started", "fraction": fraction, "resumed_frames": resumed_frames})

    def progress(self, fraction: float, *, message: str, chunk: int, windows: int) -> None:
        """Say how far the work is, with the number of finished chunks and windows."""
        event = {"kind": "progress", "fraction": fraction, "message": message, "chunk": chunk, "windows": windows}
        with self._lock:
            self._last = event
        self._send(event)

    def log(self, message: str) -> None:
        """Pass on a line for the log."""
        self._send({"kind": "log", "message": message})

    def close(self) -> None:
        """End the repetition."""
        self._stopped.set()

    def _repeat(self) -> None:
        while not self._stopped.wait(HEARTBEAT_S):
            with self._lock:
                event = self._last
            self._send(event)

    def _send(self, event: dict[str, object]) -> None:
        if self._descriptor is None:
            return
        line = json.dumps(event).encode() + b"\n"
        with self._lock:
            try:
                os.write(self._descriptor, line)
            except OSError:
                self._descriptor = None
