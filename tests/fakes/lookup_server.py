"""MusicBrainz, the Cover Art Archive and AcoustID on one loopback port, answering in the shapes of the real ones.

Entries are added by a test; misbehaviour is queued per path. Every request is remembered with its time.
"""

import io
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape, quoteattr

from PIL import Image

from tests.fakes.loopback import LoopbackServer

XML = "application/xml; charset=utf-8"
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
NAMESPACES = 'xmlns="http://musicbrainz.org/ns/mmd-2.0#" xmlns:ext="http://musicbrainz.org/ns/ext#-2.0"'


def mbid(number: int) -> str:
    """Return an id that looks like one of MusicBrainz."""
    return f"{number:08x}-0000-4000-8000-{number:012x}"


def jpeg(*, size_px: int = 500, color: str = "red") -> bytes:
    output = io.BytesIO()
    Image.new("RGB", (size_px, size_px), color).save(output, "JPEG")
    return output.getvalue()


@dataclass
class Release:
    """An edition, with one track that matters."""

    number: int
    title: str
    artist: str = "Ann"
    kind: str = "Album"
    secondary: tuple[str, ...] = ()
    status: str = "Official"
    date: str = "2001-02-03"
    group: int | None = None
    track: int = 3
    tracks: int = 10
    disc: int = 1
    discs: int = 1
    artist_number: int = 901

    @property
    def id(self) -> str:
        return mbid(self.number)

    @property
    def group_id(self) -> str:
        return mbid(self.group if self.group is not None else self.number + 5000)

    @property
    def track_id(self) -> str:
        return mbid(self.number + 7000)


@dataclass
class Recording:
    """A recording and the releases that it is on."""

    number: int
    title: str
    artist: str = "Ann"
    length_s: float | None = 200.0
    disambiguation: str = ""
    releases: tuple[Release, ...] = ()
    score: int = 100
    artist_number: int = 901

    @property
    def id(self) -> str:
        return mbid(self.number)


@dataclass
class Misbehaviour:
    """What is answered instead of the truth, once."""

    status: int = 200
    body: bytes = b""
    kind: str = "text/html"
    headers: Mapping[str, str] = field(default_factory=dict)
    silent_s: float = 0.0
    trickle_s: float = 0.0
    claimed: int | None = None


class LookupServer:
    """The server; `asked` are the paths with their queries in order, `at` when each came (monotonic)."""

    def __init__(self) -> None:
        self.recordings: list[Recording] = []
        self.merged: dict[str, str] = {}
        self.fingerprints: list[tuple[float, Recording]] = []
        self.covers: dict[str, bytes] = {}
        self.wrong: list[Misbehaviour] = []
        self.always_wrong: Misbehaviour | None = None
        self.asked: list[str] = []
        self.agents: list[str] = []
        self.forms: list[dict[str, list[str]]] = []
        self.at: list[float] = []
        self._closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server._serve(self)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                server.forms.append(parse_qs(body))
                server._serve(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._loopback = LoopbackServer(Handler)
        self.url = self._loopback.url

    def close(self) -> None:
        self._closing.set()
        self._loopback.close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        self.at.append(time.monotonic())
        self.asked.append(handler.path)
        self.agents.append(handler.headers.get("User-Agent", ""))
        wrong = self.wrong.pop(0) if self.wrong else self.always_wrong
        with suppress(ConnectionError):  # who asked has heard enough
            if wrong is not None:
                self._misbehave(handler, wrong)
            else:
                _reply(handler, *self._answer(handler.path))

    def _misbehave(self, handler: BaseHTTPRequestHandler, wrong: Misbehaviour) -> None:
        self._closing.wait(wrong.silent_s)
        handler.send_response(wrong.status)
        handler.send_header("Content-Type", wrong.kind)
        handler.send_header("Content-Length", str(len(wrong.body) if wrong.claimed is None else wrong.claimed))
        for name, value in wrong.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        for at in range(len(wrong.body) if wrong.trickle_s else 0):
            handler.wfile.write(wrong.body[at : at + 1])
            if self._closing.wait(wrong.trickle_s):
                return
        handler.wfile.write(b"" if wrong.trickle_s else wrong.body)
        handler.close_connection = True

    def _answer(self, path: str) -> tuple[int, bytes, str, dict[str, str]]:
        parts = urlsplit(path)
        routes: tuple[tuple[str, Callable[[re.Match[str]], tuple[int, bytes, str, dict[str, str]]]], ...] = (
            ("/ws/2/recording/?", lambda match: self._search(parse_qs(parts.query)["query"][0])),
            ("/ws/2/recording/(.+)", lambda match: self._recording(match[1])),
            ("/ws/2/release/(.+)", lambda match: self._release(match[1])),
            ("/(release|release-group)/(.+)/front-500", lambda match: self._front(match[1], match[2])),
            ("/images/(.+)", lambda match: (200, self.covers[match[1]], "image/jpeg", {})),
            ("/v2/lookup", lambda match: self._lookup()),
        )
        for pattern, answer in routes:
            match = re.fullmatch(pattern, parts.path)
            if match:
                return answer(match)
        return _missing()

    def _search(self, query: str) -> tuple[int, bytes, str, dict[str, str]]:
        asked = re.search(r"rid:\(([0-9a-f\\-]+)\)", query)
        wanted = asked[1].replace("\\", "") if asked else None
        found = [one for one in self.recordings if wanted in (None, one.id)]
        body = "".join(recording_xml(one, search=True) for one in found)
        return _xml(f'<recording-list count="{len(found)}" offset="0">{body}</recording-list>')

    def _recording(self, wanted: str) -> tuple[int, bytes, str, dict[str, str]]:
        wanted = self.merged.get(wanted, wanted)
        for one in self.recordings:
            if one.id == wanted:
                return _xml(recording_xml(one, search=False))
        return _missing()

    def _release(self, wanted: str) -> tuple[int, bytes, str, dict[str, str]]:
        tracks = [(rec, rel) for rec in self.recordings for rel in rec.releases if rel.id == wanted]
        return _xml(release_with_tracks_xml(tracks)) if tracks else _missing()

    def _front(self, kind: str, wanted: str) -> tuple[int, bytes, str, dict[str, str]]:
        if f"{kind}-{wanted}" not in self.covers:
            return 404, b"<html><title>404 Not Found</title></html>", "text/html", {}
        return 307, b"", "text/plain", {"Location": f"{self.url}/images/{kind}-{wanted}"}

    def _lookup(self) -> tuple[int, bytes, str, dict[str, str]]:
        results = [
            {
                "id": mbid(recording.number + 9000),
                "score": score,
                "recordings": [
                    {
                        "id": recording.id,
                        "title": recording.title,
                        "duration": recording.length_s,
                        "artists": [{"id": mbid(recording.artist_number), "name": recording.artist}],
                    }
                ],
            }
            for score, recording in self.fingerprints
        ]
        return 200, json.dumps({"status": "ok", "results": results}).encode(), "application/json", {}


@contextmanager
def open_lookup_server() -> Iterator[LookupServer]:
    server = LookupServer()
    try:
        yield server
    finally:
        server.close()


def recording_xml(recording: Recording, *, search: bool) -> str:
    """Return a recording as a search, or a lookup with ``artists+artist-credits+releases+media``, has it."""
    score = f' ext:score="{recording.score}"' if search else ""
    length = "" if recording.length_s is None else f"<length>{round(recording.length_s * 1000)}</length>"
    note = f"<disambiguation>{escape(recording.disambiguation)}</disambiguation>" if recording.disambiguation else ""
    releases = "".join(_release_xml(release, recording, search=search) for release in recording.releases)
    return (
        f'<recording id="{recording.id}"{score}><title>{escape(recording.title)}</title>{length}{note}'
        f"{_credit_xml(recording.artist, recording.artist_number)}"
        f'<release-list count="{len(recording.releases)}">{releases}</release-list></recording>'
    )


def release_with_tracks_xml(tracks: list[tuple[Recording, Release]]) -> str:
    """Return a release as a lookup with ``recordings+media+release-groups`` has it."""
    release = tracks[0][1]
    listed = "".join(
        f'<track id="{one.track_id}"><position>{one.track}</position><number>{one.track}</number>'
        f"<recording id={quoteattr(recording.id)}><title>{escape(recording.title)}</title>"
        f"<length>{round((recording.length_s or 0) * 1000)}</length>"
        f"{_credit_xml(recording.artist, recording.artist_number)}</recording></track>"
        for recording, one in tracks
    )
    media = "".join(
        f'<medium><position>{disc}</position><format>CD</format><track-list count="{release.tracks}" offset="0">'
        f"{listed if disc == release.disc else ''}</track-list></medium>"
        for disc in range(1, release.discs + 1)
    )
    return (
        f'<release id="{release.id}"><title>{escape(release.title)}</title><status>{release.status}</status>'
        f"{_credit_xml(release.artist, release.artist_number)}{_group_xml(release)}<date>{release.date}</date>"
        f'<medium-list count="{release.discs}">{media}</medium-list></release>'
    )


def _release_xml(release: Release, recording: Recording, *, search: bool) -> str:
    group = _group_xml(release) if search else ""
    return (
        f'<release id="{release.id}"><title>{escape(release.title)}</title><status>{release.status}</status>'
        f"{_credit_xml(release.artist, release.artist_number)}{group}<date>{release.date}</date><country>XW</country>"
        f"<medium-list><track-count>{release.tracks * release.discs}</track-count>"
        f"<medium><position>{release.disc}</position><format>CD</format>"
        f'<track-list count="{release.tracks}" offset="{release.track - 1}"><track id="{release.track_id}">'
        f"<number>{release.track}</number><title>{escape(recording.title)}</title></track></track-list></medium>"
        f"</medium-list></release>"
    )


def _group_xml(release: Release) -> str:
    listed = "".join(f"<secondary-type>{kind}</secondary-type>" for kind in release.secondary)
    secondary = f"<secondary-type-list>{listed}</secondary-type-list>" if listed else ""
    return (
        f'<release-group id="{release.group_id}" type="{release.kind}"><title>{escape(release.title)}</title>'
        f"<primary-type>{release.kind}</primary-type>{secondary}</release-group>"
    )


def _credit_xml(name: str, number: int) -> str:
    last, _, first = name.rpartition(" ")[::-1]
    sort_name = f"{last}, {first}" if first else last
    return (
        f'<artist-credit><name-credit><artist id="{mbid(number)}"><name>{escape(name)}</name>'
        f"<sort-name>{escape(sort_name)}</sort-name></artist></name-credit></artist-credit>"
    )


def _xml(inner: str) -> tuple[int, bytes, str, dict[str, str]]:
    return 200, f"{HEAD}<metadata {NAMESPACES}>{inner}</metadata>".encode(), XML, {}


def _missing() -> tuple[int, bytes, str, dict[str, str]]:
    return 404, f"{HEAD}<error><text>Not Found</text></error>".encode(), XML, {}


def _reply(handler: BaseHTTPRequestHandler, status: int, body: bytes, kind: str, headers: dict[str, str]) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)
