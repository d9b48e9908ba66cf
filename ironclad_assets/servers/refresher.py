"""Asks media servers to look for new files after entries landed: soon, not often, and never in a song's way.

One refresher lives in the code server, and a sensor ticks it. Each server is asked in a thread of its own, at most
once in an interval, and again until it heard of the last entry. How a server is asked is `protocols`', how runs tell
of entries `notes`'.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from ironclad_assets.errors import IroncladError
from ironclad_assets.servers.configured import configured_servers
from ironclad_assets.servers.notes import ServerState, last_entry, read_states, timestamp, write_states
from ironclad_assets.servers.protocols import Answer, Server, ask_to_scan
from ironclad_assets.servers.request import ServerProblem
from ironclad_assets.settings import Settings
from ironclad_assets.telemetry.logs import bind

QUICK_S = 1.0
"""How long a tick waits for answers: most servers need milliseconds, and nobody waits for the others."""

LONGEST_PAUSE_S = 900.0
"""Between two requests to a server that fails, however often it did."""

ASKED = "was asked to scan"
BUSY = "is scanning; it is asked again"


@dataclass(slots=True)
class _Attempt:
    """One request on its way, in a thread. `entry` is the last that had landed when it began."""

    entry: str
    thread: threading.Thread
    outcome: Answer | str | None = None
    """What came of it; words for a failure."""


@dataclass(slots=True)
class _Line:
    """One server, what is known of it, and the request that is on its way to it."""

    server: Server
    state: ServerState
    next_at: float = 0.0
    attempt: _Attempt | None = field(default=None)


class Refresher:
    """Tells all servers of one installation of new entries."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._lines: list[_Line] | None = None

    def tick(self) -> str:
        """Ask who is due, take up what came of earlier requests, and say in a line how it stands."""
        if self._lines is None:
            self._lines = [self._open(server) for server in configured_servers(self._settings).servers]
        entry = last_entry(self._settings)
        before = [line.state for line in self._lines]
        for line in self._lines:
            self._take_up(line)
            if entry and entry != line.state.entry and line.attempt is None and self._clock() >= line.next_at:
                line.attempt = self._start(line.server, entry=entry)
        deadline = time.monotonic() + QUICK_S
        for line in self._lines:
            if line.attempt is not None:
                line.attempt.thread.join(max(0.0, deadline - time.monotonic()))
                self._take_up(line)
        if before != [line.state for line in self._lines]:
            self._publish()
        return "; ".join(self._describe(entry)) or "no media server is configured"

    def _open(self, server: Server) -> _Line:
        """Begin where an earlier code server stopped; what it had to wait for may be mended now."""
        known = read_states(self._settings).get(server.name)
        return _Line(server, known if known is not None and known.url == server.url else ServerState(url=server.url))

    def _start(self, server: Server, *, entry: str) -> _Attempt:
        def ask() -> None:
            try:
                attempt.outcome = ask_to_scan(server, timeout_s=self._settings.refresh_timeout_s)
            except ServerProblem as problem:
                attempt.outcome = str(problem)
            except Exception as error:  # noqa: BLE001 - a thread's door; the text may hold the secret
                attempt.outcome = f"cannot be asked ({type(error).__name__})"

        attempt = _Attempt(entry, threading.Thread(target=ask, name=f"refresh-{server.name}", daemon=True))
        attempt.thread.start()
        return attempt

    def _take_up(self, line: _Line) -> None:
        """Note what came of the request, if it has ended, and when the next may follow."""
        attempt = line.attempt
        if attempt is None or attempt.thread.is_alive():
            return
        line.attempt = None
        pause_s = self._settings.refresh_interval_s
        state = replace(line.state, at=timestamp())
        if attempt.outcome is Answer.STARTED:
            line.state = replace(state, entry=attempt.entry, said=ASKED, failures=0)
        elif attempt.outcome is Answer.BUSY:
            line.state = replace(state, said=BUSY, failures=0)
        else:
            line.state = replace(state, said=str(attempt.outcome), failures=line.state.failures + 1)
            pause_s = min(pause_s * 2.0 ** min(line.state.failures - 1, 16), max(LONGEST_PAUSE_S, pause_s))
            bind().warning(
                "a media server was not refreshed",
                server=line.server.name,
                url=line.server.url,
                reason=line.state.said,
                failures=line.state.failures,
            )
        line.next_at = self._clock() + pause_s

    def _publish(self) -> None:
        """Keep the states for `health` and for the next code server; without them work goes on."""
        try:
            write_states(self._settings, {line.server.name: line.state for line in self._lines or ()})
        except (IroncladError, OSError) as error:
            bind().warning("what media servers said cannot be kept", reason=str(error))

    def _describe(self, entry: str) -> Iterator[str]:
        for line in self._lines or ():
            if line.attempt is not None:
                yield f"{line.server.name} is being asked"
            elif line.state.failures:
                yield f"{line.server.name} {line.state.said}, {line.state.failures} times"
            elif not entry or entry == line.state.entry:
                yield f"{line.server.name} is up to date"
            else:
                yield f"{line.server.name} waits for its turn"
