"""How each kind of media server is asked to look for new files: Plex, Jellyfin, and those that speak Subsonic.

When they are asked, and how often, is decided in `refresher`.
"""

import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal
from urllib.parse import urlsplit

from ironclad_assets.servers.request import Reply, ServerProblem, send_request

_SUBSONIC_VERSION = "1.16.1"
"""Of the protocol; the last that was published, with `startScan` since 1.15."""

_CLIENT = "ironclad"
_NOT_ACCEPTED = (401, 403)
_SUBSONIC_CREDENTIALS = (40, 41, 42, 43, 44)
_SUBSONIC_NOT_ALLOWED = 50
_TEXT_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Server:
    """A configured media server. `secret` is its token, or the password of `user`."""

    name: str
    protocol: Literal["plex", "jellyfin", "subsonic"]
    url: str
    secret: str = field(repr=False)
    user: str = ""


class Answer(Enum):
    """What a server that took the request does now."""

    STARTED = "started"
    BUSY = "busy"
    """It is scanning already, and may have passed the new files: ask again later."""


def ask_to_scan(server: Server, *, timeout_s: float) -> Answer:
    """Ask `server` to look for new files.

    Raises:
        ServerProblem: it does not, and why; the secret is never in the words.
    """
    try:
        return _PROTOCOLS[server.protocol](server, timeout_s)
    except ServerProblem as problem:
        hidden = str(problem).replace(server.secret, "***") if server.secret else str(problem)
        raise ServerProblem(hidden[:_TEXT_LENGTH]) from None


def _ask_plex(server: Server, timeout_s: float) -> Answer:
    reply = send_request(
        server.url,
        method="GET",
        path="/library/sections/all/refresh",
        query={},
        headers={"X-Plex-Token": _header_value(server.secret)},  # in the address it would stand in logs of proxies
        timeout_s=timeout_s,
    )
    _require_success(reply)
    return Answer.STARTED


def _ask_jellyfin(server: Server, timeout_s: float) -> Answer:
    """Queue the scan of all libraries; Jellyfin starts one that is running anew."""
    token = _header_value(server.secret)
    reply = send_request(
        server.url,
        method="POST",
        path="/Library/Refresh",
        query={},
        headers={"Authorization": f'MediaBrowser Token="{token}"'},
        timeout_s=timeout_s,
    )
    _require_success(reply)
    return Answer.STARTED


def _ask_subsonic(server: Server, timeout_s: float) -> Answer:
    """Start a scan unless one runs: a server that scans ignores the request, and may have passed the new files."""
    if _call_subsonic(server, "getScanStatus", timeout_s=timeout_s).get("scanning") is True:
        return Answer.BUSY
    _call_subsonic(server, "startScan", timeout_s=timeout_s)
    return Answer.STARTED


def _call_subsonic(server: Server, method: str, *, timeout_s: float) -> dict[str, Any]:  # a JSON object
    """Return the scan status that `method` answers; the password goes over the wire as a salted hash only."""
    salt = secrets.token_hex(8)
    token = hashlib.md5((server.secret + salt).encode(), usedforsecurity=False).hexdigest()  # as the protocol has it
    reply = send_request(
        server.url,
        method="GET",
        path=f"/rest/{method}",
        query={"u": server.user, "t": token, "s": salt, "v": _SUBSONIC_VERSION, "c": _CLIENT, "f": "json"},
        headers={},
        timeout_s=timeout_s,
    )
    _require_success(reply)
    answer = _json_object(_json_object(_load(reply.body)).get("subsonic-response"))
    if answer.get("status") != "ok":
        raise ServerProblem(_subsonic_problem(answer))
    return _json_object(answer.get("scanStatus", {}))


def _subsonic_problem(answer: dict[str, Any]) -> str:  # a JSON object
    error = _json_object(answer.get("error", {}))
    code = error.get("code")
    if code in _SUBSONIC_CREDENTIALS:
        return "does not accept user and password"
    if code == _SUBSONIC_NOT_ALLOWED:
        return "does not allow this user to start a scan; it needs an administrator"
    return f"answered with error {code}: {_plain(error.get('message'))}"


def _require_success(reply: Reply) -> None:
    """Raise unless the server did what it was asked for.

    Raises:
        ServerProblem: another status than 2xx, or a web page, as log-in pages of proxies are.
    """
    if reply.status in _NOT_ACCEPTED:
        raise ServerProblem(f"does not accept the token or the user (HTTP {reply.status})")
    if 300 <= reply.status < 400:
        raise ServerProblem(f"redirects to {_origin(reply.location)}; use that address")
    if not 200 <= reply.status < 300:
        raise ServerProblem(f"answered with HTTP {reply.status}")
    if reply.body and reply.media_type == "text/html":
        raise ServerProblem("answered with a web page; see that the address is the server's own")


def _origin(location: str) -> str:
    """Return scheme and host of where a redirect leads; the rest may repeat what was asked with."""
    try:
        parts = urlsplit(location)
        return _plain(f"{parts.scheme}://{parts.hostname}") if parts.hostname else "another page"
    except ValueError:
        return "another page"


def _header_value(secret: str) -> str:
    if not secret.isascii() or not secret.isprintable() or '"' in secret:
        raise ServerProblem("cannot be asked: the token has characters that no token has")
    return secret


def _load(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise ServerProblem("answered with something that is not JSON") from None


def _json_object(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    if not isinstance(value, dict):
        raise ServerProblem("answered with JSON that is not the protocol's")
    return value


def _plain(text: object) -> str:
    """Return what a server said as one line without control characters."""
    return "".join(char if char.isprintable() else " " for char in str(text))[:_TEXT_LENGTH]


_PROTOCOLS: dict[str, Callable[[Server, float], Answer]] = {
    "plex": _ask_plex,
    "jellyfin": _ask_jellyfin,
    "subsonic": _ask_subsonic,
}
