"""Media servers that answer as Plex, Jellyfin and servers of Subsonic's protocol do, and misbehave when told to.

One server speaks all of it. It keeps every request, so that tests see who was asked, when and how.
"""

import hashlib
import http.server
import json
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.loopback import LoopbackServer

TOKEN = "pT-s3cret.token_42"
USER, PASSWORD = "ada", "pä ss&word+1%"

UNAUTHORIZED = b"<html><head><title>Unauthorized</title></head><body><h1>401 Unauthorized</h1></body></html>"
WEB_PAGE = b"<!DOCTYPE html><html><body>Welcome to nginx!</body></html>"


@dataclass
class MediaServer:
    """A running fake. `mood` says how it answers: ``well`` or one of the misbehaviours."""

    url: str
    mood: str = "well"
    scanning: bool = False
    asked: list[tuple[float, str, str]] = field(default_factory=list)
    """When, method and path with query, of every request."""

    headers: list[dict[str, str]] = field(default_factory=list)
    scans: int = 0
    """How often a scan was really started."""

    hold: threading.Event = field(default_factory=threading.Event)
    """Set when the test is over: who waits for ever waits until then."""

    def paths(self) -> list[str]:
        return [urllib.parse.urlsplit(path).path for _, _, path in self.asked]


class _Handler(http.server.BaseHTTPRequestHandler):
    fake: MediaServer

    def log_message(self, *_args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._take("GET")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._take("POST")

    def _take(self, method: str) -> None:
        self.fake.asked.append((time.monotonic(), method, self.path))
        self.fake.headers.append(dict(self.headers))
        if not self._misbehave(self.fake.mood):
            self._answer(method)

    def _misbehave(self, mood: str) -> bool:
        if mood == "silent":
            self.fake.hold.wait(60)
        elif mood == "slow":
            self.fake.hold.wait(60)
            return False
        elif mood == "dripping":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while not self.fake.hold.wait(0.05):
                self.wfile.write(b"X-More: 1\r\n")
                self.wfile.flush()
        elif mood == "dripping body":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not self.fake.hold.wait(0.05):
                self.wfile.write(b" ")
                self.wfile.flush()
        elif mood == "no http":
            self.wfile.write(b"SSH-2.0-OpenSSH_9.2p1\r\n")
        elif mood == "hanging up":
            self.close_connection = True
        elif mood == "500":
            self._reply(500, b"Internal Server Error", "text/plain")
        elif mood == "503":
            self._reply(503, b"{}", "application/json")
        elif mood == "web page":
            self._reply(200, WEB_PAGE, "text/html")
        elif mood == "half a json":
            self._reply(200, b'{"subsonic-response": {"status": "o', "application/json")
        elif mood == "other json":
            self._reply(200, b"[1, 2]", "application/json")
        elif mood == "deep json":
            self._reply(200, b"[" * 60_000, "application/json")
        elif mood == "odd redirect":
            self._reply(302, b"", "text/html", Location="https://[::1/login")
        elif mood == "redirect":
            self._reply(302, b"", "text/html", Location=f"https://elsewhere.example/login?back={self.path}")
        else:
            return False
        return True

    def _answer(self, method: str) -> None:
        parts = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        if (method, parts.path) == ("GET", "/library/sections/all/refresh"):
            self._plex(query)
        elif (method, parts.path) == ("POST", "/Library/Refresh"):
            self._jellyfin()
        elif method == "GET" and parts.path.removesuffix(".view") in ("/rest/startScan", "/rest/getScanStatus"):
            self._subsonic(parts.path.removesuffix(".view").rpartition("/")[2], query)
        else:
            self._reply(404, b"", "text/html")

    def _plex(self, query: dict[str, str]) -> None:
        if TOKEN not in (self.headers.get("X-Plex-Token"), query.get("X-Plex-Token")):
            self._reply(401, UNAUTHORIZED, "text/html")
            return
        self.fake.scans += 1
        self._reply(200, b"", "text/html")

    def _jellyfin(self) -> None:
        if self.headers.get("Authorization") != f'MediaBrowser Token="{TOKEN}"':
            self._reply(401, b"", "text/plain")
            return
        self.fake.scans += 1
        self._reply(204, b"", None)

    def _subsonic(self, method: str, query: dict[str, str]) -> None:
        missing = [name for name in ("u", "t", "s", "v", "c") if name not in query]
        expected = hashlib.md5((PASSWORD + query.get("s", "")).encode()).hexdigest()
        if missing:
            self._subsonic_error(10, f"Required parameter is missing: {missing[0]}")
        elif (query["u"], query["t"]) != (USER, expected) or len(query["s"]) < 6:
            self._subsonic_error(40, "Wrong username or password")
        elif self.fake.mood == "not an administrator":
            self._subsonic_error(50, "User is not authorized for the given operation.")
        else:
            if method == "startScan" and not self.fake.scanning:
                self.fake.scans += 1
            scanning = self.fake.scanning or method == "startScan"
            self._subsonic_reply({"status": "ok", "scanStatus": {"scanning": scanning, "count": 1234}})

    def _subsonic_error(self, code: int, message: str) -> None:
        self._subsonic_reply({"status": "failed", "error": {"code": code, "message": message}})

    def _subsonic_reply(self, content: dict[str, Any]) -> None:
        """Answer as Navidrome does: errors too with HTTP 200."""
        body = {"version": "1.16.1", "type": "navidrome", "serverVersion": "0.58.0", "openSubsonic": True, **content}
        self._reply(200, json.dumps({"subsonic-response": body}).encode(), "application/json")

    def _reply(self, status: int, body: bytes, media_type: str | None, **headers: str) -> None:
        self.send_response(status)
        if media_type:
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def run_media_server() -> Iterator[MediaServer]:
    """Run a fake on a free port of the loopback."""
    fake = MediaServer(url="")
    handler = type("Handler", (_Handler,), {"fake": fake, "protocol_version": "HTTP/1.1"})
    server = LoopbackServer(handler)
    fake.url = server.url
    try:
        yield fake
    finally:
        fake.hold.set()
        server.close()
