"""An S3 server on loopback, moto's, behind a door that counts requests and lets chosen ones go wrong.

One request is answered at a time, so that the conditions of two writers are decided one after the other, as S3 does.
"""

import re
import secrets
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from importlib.util import find_spec
from typing import Any
from urllib.parse import quote

import pytest

Fault = str
"""How a request goes wrong.

``drop``: nothing arrives. ``lose``: it is carried out, its answer is lost. ``half``: half of the answer comes.
``flip``: one bit of the answer is wrong. A number: that status, in S3's words.
"""

WORDS = {
    403: ("Forbidden", "SignatureDoesNotMatch"),
    404: ("Not Found", "NoSuchBucket"),
    409: ("Conflict", "ConditionalRequestConflict"),
    412: ("Precondition Failed", "PreconditionFailed"),
    500: ("Internal Server Error", "InternalError"),
    503: ("Slow Down", "SlowDown"),
    507: ("Insufficient Storage", "XMinioStorageFull"),
}
UNCOUNTED = "x-test-uncounted"
OWN = {UNCOUNTED: "1", "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request"}
"""What the tests' own requests bear: moto takes any signature, but not none."""

SAID = "AKIAEXAMPLE"
"""What a refusal repeats of the request, as S3's do."""


@dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class S3Server:
    """The server; `bucket` is the one of the test that runs."""

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Handler(WSGIRequestHandler):
            def log(self, type: str, message: str, *args: Any) -> None:
                """Say nothing."""

        self._app = create_backend_app("s3")
        self._lock = threading.Lock()
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.begin()

    def begin(self) -> None:
        """Start anew with an empty bucket, no faults and nothing counted."""
        self.away = False
        self.fault: Callable[[int, Request], Fault | None] = lambda number, request: None
        self.requests: list[Request] = []
        self.bucket = f"test-{secrets.token_hex(8)}"
        self._call("PUT", f"/{self.bucket}")

    def close(self) -> None:
        """End the server; its port is free then."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def environment(self, prefix: str = "store") -> dict[str, str]:
        """Return the settings of an installation whose store lasts here."""
        return {
            "object_store_url": f"s3://{self.bucket}/{prefix}",
            "object_store_endpoint": self.url,
            "object_store_region": "us-east-1",
            "object_store_access_key": "test",
            "object_store_secret_key": "test-secret-0123456789",
            "object_store_allow_http": "true",
            "object_store_retries": "1",
            "object_store_timeout_s": "10",
        }

    def keys(self, prefix: str = "") -> list[str]:
        """Return the keys in the bucket, without counting."""
        listing = self._call("GET", f"/{self.bucket}?list-type=2&max-keys=1000&prefix={prefix}").decode()
        return re.findall(r"<Key>([^<]*)</Key>", listing)

    def content(self, key: str) -> bytes:
        """Return an object's bytes, without counting."""
        return self._call("GET", f"/{self.bucket}/{key}")

    def replace(self, key: str, content: bytes) -> None:
        """Put an object there by other means."""
        self._call("PUT", f"/{self.bucket}/{key}", data=content)

    def remove(self, key: str) -> None:
        """Remove an object by other means."""
        self._call("DELETE", f"/{self.bucket}/{key}")

    def _call(self, method: str, path: str, *, data: bytes = b"") -> bytes:
        connection = HTTPConnection("127.0.0.1", self._server.server_port, timeout=30)
        try:
            connection.request(method, quote(path, safe="/?=&"), body=data, headers=OWN)
            return connection.getresponse().read()
        finally:
            connection.close()

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        headers = {name[5:].lower().replace("_", "-"): str(value) for name, value in environ.items() if "HTTP_" in name}
        request = Request(environ["REQUEST_METHOD"], environ["PATH_INFO"], headers)
        with self._lock:
            if UNCOUNTED in headers:
                return self._serve(environ, start_response)
            self.requests.append(request)
            fault = "drop" if self.away else self.fault(len(self.requests), request)
            if fault is None:
                return self._serve(environ, start_response)
            if fault.isdigit():
                return _refuse(int(fault), environ, start_response)
            return self._go_wrong(fault, environ, start_response)

    def _serve(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        answer = self._app(environ, start_response)
        try:
            return [b"".join(answer)]
        finally:
            getattr(answer, "close", lambda: None)()

    def _go_wrong(self, fault: Fault, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if fault == "drop":
            return _hang_up(environ)
        if fault == "lose":
            self._serve(environ, lambda *_: lambda _: None)
            return _hang_up(environ)
        body = self._serve(environ, start_response)[0]
        if fault == "flip":
            return [bytes([body[0] ^ 1]) + body[1:]] if body else [body]
        assert fault == "half"
        return [body[: len(body) // 2]]


def _refuse(status: int, environ: dict[str, Any], start_response: Any) -> list[bytes]:
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    phrase, code = WORDS[status]
    said = f"<Error><Code>{code}</Code><Message>{SAID}</Message><AWSAccessKeyId>{SAID}</AWSAccessKeyId></Error>"
    start_response(f"{status} {phrase}", [("Content-Type", "application/xml"), ("Content-Length", str(len(said)))])
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else said.encode()]


def _hang_up(environ: dict[str, Any]) -> list[bytes]:
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """An S3 server that lives as long as the tests."""
    if find_spec("moto") is None or find_spec("obstore") is None:
        pytest.skip("moto or obstore is not installed")
    server = S3Server()
    yield server
    server.close()


@pytest.fixture
def s3(s3_server: S3Server) -> S3Server:
    """An S3 server with an empty bucket."""
    s3_server.begin()
    return s3_server
