"""Speaking with clamd: one command or one stream per connection, over its Unix socket or TCP (see clamd(8)).

Only the protocol is here: what was said, or `ScannerAway` wherever that is in doubt. What an answer means for a
file is in `scan`.
"""

import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from ironclad_assets.errors import ErrorCode, TransientFailure
from ironclad_assets.storage.hashing import carry_on

CHUNK_BYTES = 65_536
"""Largest piece of a stream."""

_MOST_REPLY_BYTES = 4096
_TICK_S = 0.25
_END_OF_STREAM = bytes(4)


class ScannerAway(TransientFailure):
    """The virus scanner gave no answer that can be relied on."""

    code = ErrorCode.SCANNER_AWAY


@dataclass(frozen=True, slots=True)
class Clamd:
    """One clamd. `address` is the path of its socket or host:port; `timeout_s` holds for each answer."""

    address: str
    timeout_s: float

    def ask(self, command: str) -> str:
        """Return the answer to `command`, such as VERSION.

        Raises:
            ScannerAway: there is none.
        """
        with _connect(self) as talk:
            with suppress(BrokenPipeError, ConnectionResetError):
                talk.send(f"z{command}\0".encode("ascii"))
            return talk.read_reply()

    def stream(self, blocks: Iterable[bytes], *, heed: Callable[[], None] = carry_on) -> str:
        """Return what clamd says of a stream of blocks, each at most `CHUNK_BYTES` long and not empty.

        Args:
            blocks: the content.
            heed: called several times a second; what it raises ends the scan.

        Raises:
            ScannerAway: there is no answer, or one that came before clamd had everything and is no error.
        """
        with _connect(self, heed=heed) as talk:
            whole = True
            try:
                talk.send(b"zINSTREAM\0")
                for block in blocks:
                    talk.send(len(block).to_bytes(4, "big") + block)
                talk.send(_END_OF_STREAM)
            except (BrokenPipeError, ConnectionResetError):
                whole = False  # it closes as soon as a stream is too long, and has said so
            reply = talk.read_reply()
        if whole or reply.endswith("ERROR"):
            return reply
        raise ScannerAway(f"clamd at {self.address} answered {reply[:100]!r} before it had the whole file")


@dataclass(slots=True)
class _Talk:
    """One connection. Each step has the scanner's time limit; `heed` is called while it waits."""

    connection: socket.socket
    scanner: Clamd
    heed: Callable[[], None]
    deadline: float = field(init=False)

    def __post_init__(self) -> None:
        self.connection.settimeout(_TICK_S)
        self.deadline = time.monotonic() + self.scanner.timeout_s

    def send(self, data: bytes) -> None:
        self._begin_step()
        left = memoryview(data)
        while left:
            try:
                left = left[self.connection.send(left) :]
            except TimeoutError:
                self._tick()
            except (BrokenPipeError, ConnectionResetError):
                raise
            except OSError as error:
                raise _away(self.scanner, error) from error

    def read_reply(self) -> str:
        """Return the one answer, which ends with NUL and with the connection."""
        self._begin_step()
        received = bytearray()
        while block := self._receive():
            received += block
            if len(received) > _MOST_REPLY_BYTES:
                break
        if not received:
            raise ScannerAway(f"clamd at {self.scanner.address} closed the connection without an answer")
        if received.find(b"\0") != len(received) - 1:
            raise ScannerAway(f"clamd at {self.scanner.address} said {bytes(received[:40])!r}, which is no answer")
        return received[:-1].decode("utf-8", errors="replace")

    def _receive(self) -> bytes:
        while True:
            try:
                return self.connection.recv(_MOST_REPLY_BYTES)
            except TimeoutError:
                self._tick()
            except ConnectionResetError:
                return b""  # closed while what we sent was unread; what it said was received before
            except OSError as error:
                raise _away(self.scanner, error) from error

    def _begin_step(self) -> None:
        self.heed()
        self.deadline = time.monotonic() + self.scanner.timeout_s

    def _tick(self) -> None:
        self.heed()
        if time.monotonic() > self.deadline:
            raise ScannerAway(f"clamd at {self.scanner.address} did not answer within {self.scanner.timeout_s:g} s")


@contextmanager
def _connect(scanner: Clamd, *, heed: Callable[[], None] = carry_on) -> Iterator[_Talk]:
    try:
        connection = _open_socket(scanner)
    except (OSError, OverflowError, UnicodeError) as error:  # the latter two: no such port, no such name
        raise _away(scanner, error) from error
    with connection:
        yield _Talk(connection, scanner, heed)


def _away(scanner: Clamd, error: Exception) -> ScannerAway:
    return ScannerAway(f"clamd at {scanner.address}: {getattr(error, 'strerror', None) or error}")


def _open_socket(scanner: Clamd) -> socket.socket:
    if not scanner.address.startswith("/"):
        host, _, port = scanner.address.rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), timeout=scanner.timeout_s)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(scanner.timeout_s)
        connection.connect(scanner.address)
    except BaseException:
        connection.close()
        raise
    return connection
