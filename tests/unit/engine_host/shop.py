"""A loopback server that delivers weights, well or badly, and an engine whose catalogue points at it."""

import hashlib
import io
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

from ironclad_assets.contracts.v1.models import CatalogueWeights, Consent
from ironclad_assets.engine_host.catalogue import Shelf, find_shelf, find_weights
from ironclad_assets.engine_host.download import Patience
from ironclad_assets.engine_host.registry import InstalledEngine, find_engines
from tests.fakes.loopback import LoopbackServer

HASTY = Patience(timeout_s=5.0, attempts=2, backoff_s=0.01, window_s=5.0)

MANIFEST = """
name = "{name}"
version = "1.0.0"
kind = "separation"
protocol = 1
description = "Made for tests"
licence = "MIT"
entry = "m:C"
environment = "{environment}"
default_model = "small"
[[models]]
name = "small"
weights = "small"
stems = ["vocals", "drums"]
sample_rate_hz = 44100
channels = 2
[[models]]
name = "large"
weights = "large"
stems = ["vocals", "drums"]
sample_rate_hz = 44100
channels = 2
[[models]]
name = "none"
stems = ["vocals", "drums"]
sample_rate_hz = 44100
channels = 2
"""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Goods:
    """What the server answers with for one path."""

    content: bytes = b""
    etag: str | None = '"one"'
    status: int = 200
    statuses: list[int] = field(default_factory=list)
    """Answered first, one for each request."""

    cuts: list[int] = field(default_factory=list)
    """The connection ends after so many bytes, one for each request."""

    ranges: bool = True
    location: str | None = None
    trickle_s: float = 0.0
    pause_s: float = 0.0
    says_length: bool = True


class Shop:
    """The server; `goods` by path, and what was asked of it."""

    def __init__(self) -> None:
        self.goods: dict[str, Goods] = {}
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                shop.asked.append((self.path, dict(self.headers.items())))
                with suppress(ConnectionError):  # who asked has heard enough
                    _answer(self, shop.goods.get(urlsplit(self.path).path))

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._loopback = LoopbackServer(Handler)
        self.url = self._loopback.url

    def close(self) -> None:
        self._loopback.close()

    def ranges(self) -> list[str | None]:
        """Return the Range header of each request."""
        return [headers.get("Range") for _, headers in self.asked]


def _answer(handler: BaseHTTPRequestHandler, goods: Goods | None) -> None:
    if goods is None or goods.statuses or goods.status >= 400:
        handler.send_error(404 if goods is None else goods.statuses.pop(0) if goods.statuses else goods.status)
        return
    if goods.location is not None:
        handler.send_response(302)
        handler.send_header("Location", goods.location)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    time.sleep(goods.pause_s)
    start = _start(handler, goods)
    if start >= len(goods.content) and start:
        handler.send_error(416)
        return
    body = goods.content[start:]
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(goods.content) - 1}/{len(goods.content)}")
    if goods.etag is not None:
        handler.send_header("ETag", goods.etag)
    if goods.says_length:
        handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if goods.cuts:
        body = body[: goods.cuts.pop(0)]
    if goods.trickle_s:
        for at in range(len(body)):
            handler.wfile.write(body[at : at + 1])
            time.sleep(goods.trickle_s)
    handler.wfile.write(body if not goods.trickle_s else b"")
    handler.close_connection = True


def _start(handler: BaseHTTPRequestHandler, goods: Goods) -> int:
    """Return where the answer begins, as RFC 9110 has it for Range and If-Range."""
    asked = handler.headers.get("Range")
    condition = handler.headers.get("If-Range")
    if not goods.ranges or asked is None or (condition is not None and condition != goods.etag):
        return 0
    return int(asked.removeprefix("bytes=").rstrip("-"))


@contextmanager
def open_shop() -> Iterator[Shop]:
    shop = Shop()
    try:
        yield shop
    finally:
        shop.close()


@dataclass
class Bench:
    """An engine called ``fake`` in a folder, and the models folder of an installation."""

    root: Path

    @property
    def models_dir(self) -> Path:
        return self.root / "models"

    def write(self, catalogue: str, *, name: str = "fake", environment: str = "core", more: str = "") -> None:
        folder = self.root / "engines" / name
        folder.mkdir(parents=True, exist_ok=True)
        manifest = MANIFEST.format(name=name, environment=environment) + more
        (folder / "engine.toml").write_text(manifest, encoding="utf-8")
        (folder / "models.toml").write_text(catalogue, encoding="utf-8")

    def engine(self, name: str = "fake") -> InstalledEngine:
        return find_engines(self.root / "engines", environments=self.root / "envs")[name]

    def weights(self, model: str = "small") -> CatalogueWeights:
        found = find_weights(self.engine(), model=model)
        assert found is not None
        return found

    @property
    def shelf(self) -> Shelf:
        return find_shelf(self.engine(), models_dir=self.models_dir)

    def agree(self, model: str = "small") -> None:
        weights = self.weights(model)
        self.shelf.add_consent(
            Consent(
                licence=weights.licence,
                licence_url=weights.licence_url,
                weights=weights.name,
                by="test",
                at="2026-01-01T00:00:00Z",  # type: ignore[arg-type]  # pydantic reads it
            )
        )


def entry(name: str, *files: str, more: str = "") -> str:
    """Return a set of weights of a catalogue."""
    head = f'[[weights]]\nname = "{name}"\nlicence = "MIT"\nsource = "https://example.org"\n{more}\n'
    return head + "\n".join(files) + "\n"


def file_entry(name: str, *urls: str, more: str = "") -> str:
    """Return a file of a catalogue."""
    listed = ", ".join(f'"{url}"' for url in urls)
    return f'[[weights.files]]\nname = "{name}"\nurls = [{listed}]\n{more}\n'


def make_archive(members: Mapping[str, bytes], *, links: Mapping[str, str] | None = None) -> bytes:
    """Return a tar.gz with plain files and symbolic links."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return buffer.getvalue()
