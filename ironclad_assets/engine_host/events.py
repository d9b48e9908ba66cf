"""The parent's end of a worker's events: lines of JSON from a pipe, of which only valid ones count."""

import os
import select

from pydantic import ValidationError

from ironclad_assets.contracts.v1.engine import EngineEvent

MAX_LINE_BYTES = 64 * 1024


class Lines:
    """Cuts a stream of bytes into lines; of a line without end only the last part is kept."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, block: bytes) -> list[bytes]:
        """Return the lines that `block` completes, without their ends."""
        *lines, self._rest = (self._rest + block).split(b"\n")
        self._rest = self._rest[-MAX_LINE_BYTES:]
        return lines


class EventPipe:
    """A pipe whose writing end goes to the worker."""

    def __init__(self) -> None:
        self._reading, self.writing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reading, False)
        self._lines = Lines()
        self.ended = False
        """Whether every writer has closed its end: the worker and its guard are gone or going."""

    def close_writing(self) -> None:
        """Close our copy of the writing end, once the worker has its own."""
        os.close(self.writing)
        self.writing = -1

    def read(self, *, timeout_s: float) -> list[EngineEvent]:
        """Return the events that came, waiting up to `timeout_s` for the first."""
        if self.ended or not select.select([self._reading], [], [], timeout_s)[0]:
            return []
        try:
            block = os.read(self._reading, MAX_LINE_BYTES)
        except BlockingIOError:
            return []
        self.ended = not block
        return [event for event in map(parse_event, self._lines.feed(block)) if event is not None]

    def close(self) -> None:
        os.close(self._reading)
        if self.writing >= 0:
            self.close_writing()


def parse_event(line: bytes) -> EngineEvent | None:
    """Return the event in one line, or None where it is none."""
    try:
        return EngineEvent.model_validate_json(line)
    except ValidationError:
        # The work is judged by its result; a garbled event must not end it.
        return None
