"""The child's side of a lookup: take questions from the parent, ask the sources, answer; end when the parent does.

It reads what strangers send, and a name server may keep it waiting for ever, so it is a process of its own with limits,
which the parent ends when the time is up. Standard library and musicbrainzngs only: it has to start quickly.
"""

import json
import os
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ironclad_assets.lookup.acoustid import find_recordings
from ironclad_assets.lookup.courier import Courier, Manners, NoAnswer
from ironclad_assets.lookup.cover_art import fetch_front
from ironclad_assets.lookup.musicbrainz import MusicBrainz
from ironclad_assets.lookup.state import SharedState
from ironclad_assets.sandbox import confine

Json = dict[str, Any]  # JSON objects


def main(descriptor: int) -> None:
    """Answer questions on `descriptor`, one line of JSON each, until there are no more."""
    lines = _lines(descriptor)
    setup = next(lines)
    confine.die_with_parent(setup["parent"])
    confine.offer_to_oom_killer()
    confine.set_limits(**setup["limits"])
    try:
        state = SharedState(Path(setup["state"]))
    except sqlite3.Error as error:
        why = f"the lookups' memory {setup['state']} cannot be used ({error}), so nobody was asked"
        for _ in lines:
            _send(descriptor, {"problem": why})
        os._exit(0)
    manners = Manners(**setup["manners"])
    courier = Courier(state, manners=manners, deadline=time.monotonic() + setup["left_s"])
    answering = _Answering(courier, setup=setup)
    for question in lines:
        _send(descriptor, answering.answer(question))
    os._exit(0)


class _Answering:
    """Turns questions into replies."""

    def __init__(self, courier: Courier, *, setup: Json) -> None:
        self._courier = courier
        self._setup = setup
        self._musicbrainz = MusicBrainz(courier, base_url=setup["musicbrainz_url"])
        self._asks: dict[str, Callable[..., Json]] = {
            "recording": lambda mbid: {"recordings": self._musicbrainz.recording(mbid)},
            "release": lambda mbid: {"recordings": self._musicbrainz.release(mbid)},
            "search": lambda **words: {"recordings": self._musicbrainz.search(**words)},
            "fingerprint": self._fingerprint,
            "cover": self._cover,
        }

    def answer(self, question: Json) -> Json:
        """Return the reply, in the form of the contract `Reply`."""
        self._courier.excuse = None
        try:
            reply = self._asks[question.pop("ask")](**question)
        except NoAnswer as error:
            return {"problem": str(error)}
        except sqlite3.Error as error:
            return {"problem": f"the lookups' memory cannot be used ({error})"}
        except Exception as error:  # noqa: BLE001 - the child's door: whatever happened is told, and the song goes on
            traceback.print_exc(file=sys.stderr)
            return {"problem": f"the lookup failed ({type(error).__name__})"}
        if self._courier.excuse is not None:
            return {**reply, "stale": True, "problem": self._courier.excuse}
        return reply

    def _fingerprint(self, fingerprint: str, duration_s: float) -> Json:
        setup = self._setup
        found = find_recordings(
            self._courier,
            base_url=setup["acoustid_url"],
            key=setup["acoustid_key"],
            fingerprint=fingerprint,
            duration_s=duration_s,
        )
        return {"recordings": found}

    def _cover(self, kind: str, mbid: str, destination: str) -> Json:
        picture = fetch_front(self._courier, base_url=self._setup["cover_art_url"], kind=kind, mbid=mbid)
        if picture is not None:
            Path(destination).write_bytes(picture)
        return {"picture": picture is not None}


def _lines(descriptor: int) -> Iterator[Json]:
    received = b""
    while block := os.read(descriptor, 1 << 16):
        received += block
        *lines, received = received.split(b"\n")
        for line in lines:
            yield json.loads(line)


def _send(descriptor: int, message: Json) -> None:
    data = memoryview(json.dumps(message, allow_nan=False).encode() + b"\n")
    while data:
        data = data[os.write(descriptor, data) :]
