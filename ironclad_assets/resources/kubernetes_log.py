"""A pod's log as it is written: followed by a thread, taken line by line by whoever watches the pod.

The stream may break or end at any time (the API restarts, the node rotates the file) while the worker goes on;
it is then opened again where it broke. What the lines mean belongs to `kubernetes_worker`.
"""

import contextlib
import queue
import threading
import time
from datetime import datetime

import urllib3

from ironclad_assets.engine_host.events import Lines
from ironclad_assets.resources.kubernetes_cluster import Cluster, ClusterAway, ClusterRefusal

SILENCE_S = 20.0
"""A worker says something twice a second: a stream that is silent for so long is broken."""

REOPEN_S = 0.5
OVERLAP_S = 30
"""How much of the log is read again after a break, against clocks that differ; lines seen before are left out."""

_WAITING_LINES = 10_000
_LINES_AT_ONCE = 2_000
_BLOCK_BYTES = 64 * 1024


class FollowedLog:
    """The log of one container, from its beginning."""

    def __init__(self, cluster: Cluster, *, pod: str, container: str) -> None:
        self._cluster = cluster
        self._pod = pod
        self._container = container
        self._lines: queue.Queue[bytes] = queue.Queue(_WAITING_LINES)
        self._stopped = threading.Event()
        self._final = threading.Event()
        self._stream: urllib3.BaseHTTPResponse | None = None
        self._lock = threading.Lock()
        self._last_time = b""
        self.deaf_since: float | None = time.monotonic()
        """Since when nothing can be heard, on the monotonic clock; None while the stream is open."""

        self.trouble = ""
        """Why the stream could not be opened last."""

        self._thread = threading.Thread(target=self._follow, name=f"log of {pod}", daemon=True)
        self._thread.start()

    def take(self, *, timeout_s: float) -> list[bytes]:
        """Return the lines that came, without their times, waiting up to `timeout_s` for the first."""
        lines: list[bytes] = []
        with contextlib.suppress(queue.Empty):
            lines.append(self._lines.get(timeout=timeout_s) if timeout_s > 0 else self._lines.get_nowait())
            while len(lines) < _LINES_AT_ONCE:
                lines.append(self._lines.get_nowait())
        return lines

    def finish(self, *, timeout_s: float) -> list[bytes]:
        """Return what is left of the log of a container that has ended, waiting up to `timeout_s` for it."""
        self._final.set()
        deadline = time.monotonic() + timeout_s
        lines: list[bytes] = []
        while self._thread.is_alive() and time.monotonic() < deadline:
            lines += self.take(timeout_s=0.05)
        return lines + self.take(timeout_s=0)

    def stop(self) -> None:
        """End the thread, whatever it waits for."""
        self._stopped.set()
        self._final.set()
        with self._lock:
            if self._stream is not None:
                with contextlib.suppress(OSError, ValueError, RuntimeError):
                    self._stream.shutdown()
        self._thread.join(timeout=5)

    def _follow(self) -> None:
        while not self._stopped.is_set():
            complete = self._read_stream()
            if self._final.wait(REOPEN_S) and (complete or self._stopped.wait(REOPEN_S)):
                return

    def _read_stream(self) -> bool:
        """Read one stream to its end; return whether it ended rather than broke."""
        heard_before = self._last_time
        try:
            stream = self._cluster.follow_log(
                self._pod, container=self._container, since_s=self._look_back(), timeout_s=SILENCE_S
            )
        except ClusterAway as error:
            self.trouble = str(error)
            return False
        except ClusterRefusal as error:
            # No container yet, or no longer, or no right to: waiting for it at the end is no use.
            self.trouble = str(error)
            return True
        with self._lock:
            self._stream = stream
            self.deaf_since = None
        cut = Lines()
        try:
            for block in stream.stream(_BLOCK_BYTES):
                for line in cut.feed(block):
                    self._put(line, heard_before=heard_before)
                if self._stopped.is_set():
                    return True
        except (urllib3.exceptions.HTTPError, OSError, ValueError):
            return False
        finally:
            with self._lock:
                self._stream = None
                self.deaf_since = time.monotonic()
            stream.close()
        return True

    def _put(self, line: bytes, *, heard_before: bytes) -> None:
        # The kubelet writes times of fixed width, so they compare as text.
        stamp, _, text = line.partition(b" ")
        if stamp <= heard_before:
            return
        self._last_time = max(self._last_time, stamp)
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._lines.put(text, timeout=0.2)
                return

    def _look_back(self) -> int | None:
        if not self._last_time:
            return None
        try:
            heard = datetime.fromisoformat(self._last_time.decode()[:19] + "+00:00").timestamp()
        except ValueError:
            return None
        return max(1, int(time.time() - heard) + OVERLAP_S)
