"""One small request to a media server, bounded in time and size, whose errors never repeat a secret.

Servers stand in the user's own network: they are asked directly, never through a proxy, and a redirect is not
followed, so that a token goes to nobody but the address that was configured. What is asked is `protocols`'.
"""

import http.client
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlencode, urlsplit

MOST_BYTES = 1 << 16
"""Of an answer, beyond which nobody reads; those that are expected have some hundred."""

_TEXT_LENGTH = 200


class ServerProblem(Exception):  # noqa: N818 - an outcome, told to people in its own words
    """Why a server was not asked, or did not do what it was asked for."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered."""

    status: int
    media_type: str
    location: str
    body: bytes = field(repr=False)


def send_request(
    url: str,
    *,
    method: Literal["GET", "POST"],
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    timeout_s: float,
) -> Reply:
    """Return the answer to one request, whatever its status.

    Args:
        url: address of the server, with or without a folder.
        method: of HTTP.
        path: below the address, with a slash in front.
        query: goes behind the path.
        headers: beside those that every request has.
        timeout_s: for connecting, and once more for everything after it; looking up a name is the system's.

    Raises:
        ServerProblem: there is no answer; in words that repeat neither query nor headers.
    """
    late = threading.Event()
    try:
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        target = f"{parts.path.rstrip('/')}{path}" + (f"?{urlencode(query)}" if query else "")
        connection = kind(str(parts.hostname), parts.port, timeout=timeout_s)
        try:
            connection.connect()
            with _cut_after(timeout_s, connection, late=late):
                connection.request(method, target, body=b"" if method == "POST" else None, headers=_always(headers))
                reply = _read(connection.getresponse())
            if late.is_set():  # what is cut off in its head still looks like an answer
                raise TimeoutError
            return reply
        finally:
            connection.close()
    except Exception as error:  # noqa: BLE001 - whatever it was, its text may hold what was to be sent
        if late.is_set() or isinstance(error, TimeoutError):
            raise ServerProblem(f"did not answer within {timeout_s:g} s") from None
        raise ServerProblem(_in_words(error)) from None  # without the cause: it may hold the request


def _always(headers: Mapping[str, str]) -> dict[str, str]:
    return {"User-Agent": "ironclad", "Accept": "application/json", "Connection": "close", **headers}


def _read(response: http.client.HTTPResponse) -> Reply:
    return Reply(
        status=response.status,
        media_type=response.headers.get_content_type(),
        location=response.headers.get("Location", ""),
        body=response.read(MOST_BYTES),
    )


@contextmanager
def _cut_after(seconds: float, connection: http.client.HTTPConnection, *, late: threading.Event) -> Iterator[None]:
    """Close the connection when the time is over: a server may send a byte now and then, for ever."""

    def cut() -> None:
        late.set()
        with suppress(OSError):
            if connection.sock is not None:
                connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _in_words(error: Exception) -> str:
    if isinstance(error, http.client.RemoteDisconnected):
        return "closed the connection without an answer"
    if isinstance(error, http.client.HTTPException):
        return f"sent something that is no HTTP ({type(error).__name__})"
    if isinstance(error, OSError):
        return f"cannot be reached ({error.strerror or error})"[:_TEXT_LENGTH]
    return f"cannot be asked ({type(error).__name__})"  # its text may hold what was to be sent
