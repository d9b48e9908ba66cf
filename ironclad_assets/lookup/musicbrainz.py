"""Asks MusicBrainz about recordings and releases, through musicbrainzngs, and tells the answers in our own form.

musicbrainzngs words the questions and reads the answers. It has no time-out, ignores Retry-After and tries eight times,
so the requests themselves are our courier's (docs/adr/0008-lookups-in-a-child.md). Runs in the lookup's child alone:
musicbrainzngs keeps its settings in module globals.
"""

import re
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import musicbrainzngs
from musicbrainzngs import musicbrainz as transport

from ironclad_assets.audio.tag_formats.text import clean_text
from ironclad_assets.lookup.courier import Courier, NoAnswer, Question
from ironclad_assets.lookup.names import MUSICBRAINZ, SOURCES

NAME = SOURCES[MUSICBRAINZ]
MAX_ANSWER_BYTES = 8 * 1024 * 1024
SEARCH_LIMIT = 15

_RECORDING_INCLUDES = ["artists", "artist-credits", "releases", "media"]
_RELEASE_INCLUDES = ["artists", "artist-credits", "recordings", "media", "release-groups"]
_ROOT = "{http://musicbrainz.org/ns/mmd-2.0#}metadata"
_DATE = re.compile(r"[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?", flags=re.ASCII)

Json = dict[str, Any]  # what musicbrainzngs makes of XML, and what is sent to the parent


class _Unknown(Exception):  # noqa: N818 - passes through musicbrainzngs, which has no such answer
    """The server knows nothing of the kind."""


class MusicBrainz:
    """The client. Every method returns a list of recordings in the form of `FoundRecording`."""

    def __init__(self, courier: Courier, *, base_url: str) -> None:
        self._courier = courier
        self._asked = ""
        address = urlsplit(base_url)
        musicbrainzngs.set_useragent("ironclad", "0")  # it refuses to work without; the courier sends its own
        musicbrainzngs.set_hostname(address.netloc, use_https=address.scheme == "https")
        musicbrainzngs.set_rate_limit(False)
        transport._safe_read = self._read

    def recording(self, mbid: str) -> list[Json]:
        """Return the recording of that id, with its releases; it may have another id where two were merged."""
        found = self._ask(lambda: musicbrainzngs.get_recording_by_id(mbid, includes=_RECORDING_INCLUDES))
        return self._told(lambda: [_recording(found["recording"])] if found else [])

    def release(self, mbid: str) -> list[Json]:
        """Return the recordings on the release of that id, each with this one release."""
        found = self._ask(lambda: musicbrainzngs.get_release_by_id(mbid, includes=_RELEASE_INCLUDES))
        return self._told(lambda: _tracks(found["release"]) if found else [])

    def search(self, *, title: str, artist: str, album: str, recording: str) -> list[Json]:
        """Return recordings that fit the words; an empty word is not asked for. With an id only that recording."""
        words = {"recording": title, "artist": artist, "release": album, "rid": recording}
        asked = {name: value[:200] for name, value in words.items() if value}
        found = self._ask(lambda: musicbrainzngs.search_recordings(limit=SEARCH_LIMIT, **asked))
        return self._told(lambda: [_recording(one) for one in (found or {}).get("recording-list", [])])

    def _ask(self, call: Any) -> Json | None:  # noqa: ANN401 - a function of musicbrainzngs, which has no types
        try:
            answer: Json = call()
        except _Unknown:
            return None
        except NoAnswer:
            raise
        except Exception as error:
            raise self._nonsense(error) from error
        return answer

    def _told(self, tell: Any) -> list[Json]:  # noqa: ANN401 - a function without arguments
        """Return the answer in our form; one that cannot be told is not kept."""
        try:
            told: list[Json] = tell()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._nonsense(error) from error
        return told

    def _nonsense(self, error: Exception) -> NoAnswer:
        self._courier.forget(self._asked)
        return NoAnswer(f"{NAME} answered something that makes no sense ({type(error).__name__})")

    def _read(self, opener: object, req: Any, body: object = None) -> bytes:  # noqa: ANN401 - a urllib request
        """Stand in for the function of musicbrainzngs that sends a request and reads the answer."""
        self._asked = req.full_url
        question = Question(
            source=MUSICBRAINZ, name=NAME, url=req.full_url, key=req.full_url, max_bytes=MAX_ANSWER_BYTES, check=_check
        )
        answer = self._courier.ask(question)
        if answer is None:
            raise _Unknown
        return answer


def _check(body: bytes) -> bool:
    """Return whether the document tells of anything; raise `ValueError` unless it is one of the web service."""
    try:
        root = ElementTree.fromstring(body)  # noqa: S314 - expat bounds entities; the process has limits of its own
    except ElementTree.ParseError as error:
        raise ValueError(f"no XML ({error})") from error
    if root.tag != _ROOT or len(root) == 0:
        raise ValueError("no answer of the web service")
    return root[0].get("count") != "0"


def _recording(given: Json) -> Json:
    return {
        "id": given["id"],
        "title": _text(given["title"]),
        **_credit(given, phrase="artist", artists="artists"),
        "duration_s": _seconds(given.get("length")),
        "disambiguation": _text(given.get("disambiguation", "")),
        "releases": [_release(release) for release in given.get("release-list", [])],
    }


def _release(given: Json) -> Json:
    """Return a release, and the place of its one track where it names only that."""
    group: Json = given.get("release-group", {})
    media = [medium for medium in given.get("medium-list", []) if medium.get("track-list")]
    place = _place(media[0], media[0]["track-list"][0]) if len(media) == 1 else {}
    return _edition(given, group) | place


def _edition(given: Json, group: Json) -> Json:
    return {
        "id": given["id"],
        "title": _text(given["title"]),
        "group_id": group.get("id"),
        "status": given.get("status"),
        "primary_type": group.get("primary-type") or group.get("type"),
        "secondary_types": group.get("secondary-type-list", []),
        "disambiguation": _text(given.get("disambiguation", "")),
        "date": _date(given.get("date")),
        **_credit(given, phrase="album_artist", artists="album_artists"),
    }


def _tracks(given: Json) -> list[Json]:
    """Return the recordings of a release, in order."""
    media = given.get("medium-list", [])
    edition = _edition(given, given.get("release-group", {})) | {"disc_total": len(media)}
    return [_track(medium, track, edition=edition) for medium in media for track in medium.get("track-list", [])]


def _track(medium: Json, track: Json, *, edition: Json) -> Json:
    told = _recording(track["recording"])
    credit = _credit(track, phrase="artist", artists="artists")
    return {
        **told,
        "title": _text(track.get("title") or told["title"]),
        **(credit if credit["artist"] else {}),
        "duration_s": _seconds(track.get("track_or_recording_length")) or told["duration_s"],
        "releases": [edition | _place(medium, track)],
    }


def _place(medium: Json, track: Json) -> Json:
    return {
        "disc_number": _number(medium.get("position")),
        "track_number": _number(track.get("position")) or _number(track.get("number")),
        "track_total": _number(medium.get("track-count")),
        "track_id": track.get("id"),
    }


def _credit(given: Json, *, phrase: str, artists: str) -> Json:
    named = [part for part in given.get("artist-credit", []) if isinstance(part, dict)]
    return {
        phrase: _text(given.get("artist-credit-phrase", "")) or None,
        artists: [
            {
                "name": _text(part.get("name") or part["artist"]["name"]),
                "id": part["artist"].get("id"),
                "sort_name": _text(part["artist"].get("sort-name", "")) or None,
            }
            for part in named
        ],
    }


def _text(value: str) -> str:
    return clean_text(value)[0].replace("\n", " ")


def _seconds(milliseconds: str | None) -> float | None:
    return int(milliseconds) / 1000 if milliseconds else None


def _number(value: object) -> int | None:
    text = str(value)
    return int(text) if text.isascii() and text.isdecimal() and int(text) <= 9999 else None


def _date(value: str | None) -> str | None:
    return value if value and _DATE.fullmatch(value) else None
