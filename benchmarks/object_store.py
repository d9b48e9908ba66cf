"""Measure what a large file costs on its way to a bucket and back: memory and time.

    python -m benchmarks.object_store [--gigabytes 1]

A server in a process of its own takes every part and forgets it, and gives back zeros, so that this measures our end
alone. The file is sparse: nothing is written to the disk before it is fetched into ``/dev/null``.
"""

import argparse
import http.server
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ironclad_assets.settings import Settings
from ironclad_assets.storage.hashing import BLOCK_BYTES
from ironclad_assets.storage.s3 import S3Objects

GIGABYTE = 1024**3
_BEGUN = "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
_DONE = '<CompleteMultipartUploadResult><ETag>"1"</ETag></CompleteMultipartUploadResult>'


class Sink(http.server.BaseHTTPRequestHandler):
    """As much of S3 as one large object needs."""

    protocol_version = "HTTP/1.1"
    size_bytes = 0

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _take(self) -> None:
        left = int(self.headers.get("content-length", 0))
        while left:
            left -= len(self.rfile.read(min(left, BLOCK_BYTES)))

    def _answer(self, body: bytes = b"", *, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "ETag": '"1"', **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        self._take()
        self._answer()

    def do_POST(self) -> None:
        self._take()
        self._answer((_BEGUN if "uploads" in self.path else _DONE).encode())

    def do_HEAD(self) -> None:
        self._answer(status=404)

    def do_GET(self) -> None:
        found = re.match(r"bytes=(\d+)-(\d+)", self.headers["range"])
        assert found is not None
        first, last = int(found[1]), int(found[2])
        where = f"bytes {first}-{last}/{Sink.size_bytes}"
        self._answer(
            bytes(last - first + 1),
            status=206,
            Content_Range=where,
            Last_Modified="Thu, 01 Jan 2026 00:00:00 GMT",
        )


def serve(size_bytes: int) -> None:
    """Be the server; say the port first."""
    Sink.size_bytes = size_bytes
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    print(server.server_port, flush=True)
    server.serve_forever()


def measure(way: str, *, size_bytes: int, port: int) -> None:
    """Send or fetch one file in this process and say what it took."""
    settings = Settings(
        object_store_url="s3://bench/store",
        object_store_endpoint=f"http://127.0.0.1:{port}",
        object_store_region="us-east-1",
        object_store_access_key="bench",
        object_store_secret_key="bench",
        object_store_allow_http=True,
    )
    objects = S3Objects("s3://bench/store", settings=settings)
    with tempfile.NamedTemporaryFile() as stream:
        stream.truncate(size_bytes)
        before = _resident_mb()
        began = time.monotonic()
        if way == "send":
            objects.upload("large", Path(stream.name), sha256="0" * 64)
        else:
            with Path("/dev/null").open("wb") as into:
                objects.download("large", into, size_bytes=size_bytes)
    took_s = time.monotonic() - began
    print(f"{way}: {_resident_mb() - before:.0f} MB more than before ({before:.0f} MB), {took_s:.1f} s")


def _resident_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure both ways, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--as", dest="part", choices=["server", "send", "fetch"])
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    size_bytes = int(options.gigabytes * GIGABYTE)
    if options.part == "server":
        serve(size_bytes)
    elif options.part:
        measure(options.part, size_bytes=size_bytes, port=options.port)
    else:
        own = [sys.executable, "-m", "benchmarks.object_store", "--gigabytes", str(options.gigabytes)]
        server = subprocess.Popen([*own, "--as", "server"], stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            port = server.stdout.readline().strip()
            for part in ("send", "fetch"):
                subprocess.run([*own, "--as", part, "--port", port], check=True, timeout=600)
        finally:
            server.kill()
            server.wait(10)


if __name__ == "__main__":
    main()
