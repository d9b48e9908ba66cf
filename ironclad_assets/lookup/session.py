"""The parent's side of a lookup: a child that asks the sources, started at the first question, ended in time.

One session serves one song. Whatever goes wrong is a problem told in the reply, never an error. Which questions are
asked belongs to `pipeline/identify.py`, to which a session is handed as its `Sources`.
"""

import contextlib
import json
import os
import selectors
import socket
import sqlite3
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import ValidationError

from ironclad_assets.contracts.v1.lookup import FetchedCover, FoundRecording, Reply
from ironclad_assets.errors import JobCanceled
from ironclad_assets.lookup.covers import CoverCache, render_cover
from ironclad_assets.lookup.fingerprint import find_fpcalc, make_fingerprint
from ironclad_assets.lookup.names import ACOUSTID, COVER_ART_ARCHIVE, MUSICBRAINZ
from ironclad_assets.lookup.policy import LookupPolicy
from ironclad_assets.lookup.state import SharedState
from ironclad_assets.sandbox.limits import MEBIBYTE, Limits
from ironclad_assets.sandbox.process import IMPORT_ROOT, ChildProcess
from ironclad_assets.sandbox.watch import Watch

MAX_REPLY_BYTES = 16 * MEBIBYTE
GRACE_S = 0.5
"""Time that the child gets beyond its own to say that its time is up."""

# The child's module is not imported here: a run would load musicbrainzngs and all it drags in.
_BOOTSTRAP = (
    "import sys; sys.path[:] = sys.argv[2:]; from ironclad_assets.lookup.child import main; main(int(sys.argv[1]))"
)
_CHILD_LIMITS = {"cpu_s": 20.0, "file_bytes": 256 * MEBIBYTE, "open_files": 64}
_MEMORY_BYTES = 256 * MEBIBYTE
_LINGER_S = 10.0
"""A child that nobody ended by then is ended for it; the song's own time is up long before."""

_TICK_S = 0.1
_PASSED_ON = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")

Json = dict[str, Any]  # JSON objects


class LookupSession:
    """Asks on behalf of one song. Use it as a context manager; it is `pipeline.identify.Sources`."""

    def __init__(self, policy: LookupPolicy, *, covers: Path, scratch: Path, watch: Watch) -> None:
        """Make a session; nothing is started yet.

        Args:
            policy: whom to ask, and how.
            covers: folder of covers fetched earlier.
            scratch: folder for this song's passing files.
            watch: may cancel.
        """
        self._policy = policy
        self._covers = CoverCache(covers, days=policy.manners.cache_days)
        self._scratch = scratch
        self._watch = watch
        self._deadline = time.monotonic() + policy.total_s
        self._talk: _Talk | None = None
        self._ended: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._talk is not None:
            self._talk.close()

    def recording(self, mbid: str) -> Reply:
        """Ask MusicBrainz for a recording."""
        return self._ask(MUSICBRAINZ, {"ask": "recording", "mbid": mbid})

    def release(self, mbid: str) -> Reply:
        """Ask MusicBrainz for the recordings of a release."""
        return self._ask(MUSICBRAINZ, {"ask": "release", "mbid": mbid})

    def search(self, *, title: str = "", artist: str = "", album: str = "", recording: str = "") -> Reply:
        """Ask MusicBrainz for recordings that fit the words."""
        question = {"ask": "search", "title": title, "artist": artist, "album": album, "recording": recording}
        return self._ask(MUSICBRAINZ, question)

    def by_fingerprint(self, audio: Path, *, duration_s: float) -> Reply | None:
        """Ask AcoustID what the audio sounds like; None where it is not set up."""
        fpcalc = find_fpcalc()
        if self._policy.acoustid_key is None or fpcalc is None:
            return None
        if self._ended is not None:
            return Reply(problem=self._ended)
        fingerprint = make_fingerprint(audio, fpcalc=fpcalc, within_s=self._left_s(), watch=self._watch)
        if fingerprint is None:
            return Reply(problem="fpcalc makes no fingerprint of this file")
        return self._ask(ACOUSTID, {"ask": "fingerprint", "fingerprint": fingerprint, "duration_s": duration_s})

    def cover(self, *, kind: str, mbid: str) -> tuple[FetchedCover | None, Reply]:
        """Ask the Cover Art Archive for the front cover of a ``release`` or ``release-group``."""
        kept = self._covers.find(kind, mbid)
        if kept is not None and kept.new:
            return kept.cover, Reply(picture=True)
        fetched = self._scratch / "fetched"
        reply = self._ask(COVER_ART_ARCHIVE, {"ask": "cover", "kind": kind, "mbid": mbid, "destination": str(fetched)})
        if reply.picture:
            cover, problem = render_cover(fetched, scratch=self._scratch, within_s=self._left_s(), watch=self._watch)
            if cover is not None:
                self._covers.keep(kind, mbid, cover)
                return cover, reply
            reply = Reply(problem=problem)
        if kept is not None and reply.problem is not None:
            return kept.cover, Reply(picture=True, stale=True, problem=reply.problem)
        return None, reply

    def _left_s(self) -> float:
        return self._deadline - time.monotonic()

    def _ask(self, source: str, question: Json) -> Reply:
        if self._ended is not None:
            return Reply(problem=self._ended)
        try:
            if self._talk is None:
                self._talk = _Talk(self._policy, left_s=self._left_s())
            answer = self._talk.ask(question, until=self._deadline + GRACE_S, watch=self._watch)
            return _validated(answer)
        except _Ended as ended:
            self._ended = str(ended)
            self._note_failure(source, why=self._ended)
        except OSError as error:
            self._ended = f"the lookup could not be started ({error})"
        return Reply(problem=self._ended)

    def _note_failure(self, source: str, *, why: str) -> None:
        """Tell everybody that a source kept the child waiting until it was ended."""
        manners = self._policy.manners
        with contextlib.suppress(sqlite3.Error), contextlib.closing(SharedState(self._policy.state)) as state:
            state.failed(source, why=why, after=manners.failures, rest_s=manners.rest_s)


class _Ended(Exception):  # noqa: N818 - it says what happened
    """The child is gone or had to be ended; nothing more can be asked for this song."""


class _Talk:
    """The conversation with one child."""

    def __init__(self, policy: LookupPolicy, *, left_s: float) -> None:
        limits = Limits(cpu_s=_CHILD_LIMITS["cpu_s"], memory_bytes=_MEMORY_BYTES, wall_s=max(left_s, 0.0) + _LINGER_S)
        self._channel, theirs = socket.socketpair()
        self._received = bytearray()
        paths = [str(IMPORT_ROOT), *(path for path in sys.path if os.path.isabs(path))]  # noqa: PTH117 - of texts
        try:
            with theirs:
                self._process = ChildProcess.start(
                    [sys.executable, "-I", "-S", "-X", "utf8", "-c", _BOOTSTRAP, str(theirs.fileno()), *paths],
                    limits=limits,
                    env=_environment(),
                    pass_fds=(theirs.fileno(),),
                )
        except OSError:
            self._channel.close()
            raise
        self._send(_setup(policy, left_s=left_s))

    def ask(self, question: Json, *, until: float, watch: Watch) -> Json:
        """Return the child's answer.

        Raises:
            _Ended: there is none.
            JobCanceled: the watch asked for it.
        """
        self._send(question)
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ)
            while b"\n" not in self._received:
                if watch.canceled():
                    raise JobCanceled("canceled while metadata was looked up")
                if time.monotonic() > until:
                    raise _Ended("the time for lookups of this song was up")
                if self._process.breach() is not None or len(self._received) > MAX_REPLY_BYTES:
                    raise _Ended("the lookup used more than it may")
                if selector.select(_TICK_S):
                    self._receive()
        line, _, rest = bytes(self._received).partition(b"\n")
        self._received = bytearray(rest)
        try:
            answer = json.loads(line)
        except ValueError as error:
            raise _Ended("the lookup ended unexpectedly") from error
        if not isinstance(answer, dict):
            raise _Ended("the lookup ended unexpectedly")
        return answer

    def close(self) -> None:
        """End the child."""
        self._channel.close()
        self._process.stop(grace_s=0)

    def _send(self, message: Json) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._channel.settimeout(5.0)
            self._channel.sendall(json.dumps(message, allow_nan=False).encode() + b"\n")

    def _receive(self) -> None:
        try:
            block = self._channel.recv(1 << 16)
        except ConnectionResetError:
            block = b""
        if not block:
            raise _Ended("the lookup ended unexpectedly")
        self._received += block


def _setup(policy: LookupPolicy, *, left_s: float) -> Json:
    return {
        "parent": os.getpid(),
        "limits": _CHILD_LIMITS,
        "left_s": left_s,
        "state": str(policy.state),
        "manners": asdict(policy.manners),
        "musicbrainz_url": policy.musicbrainz_url,
        "cover_art_url": policy.cover_art_url,
        "acoustid_url": policy.acoustid_url,
        "acoustid_key": policy.acoustid_key,
    }


def _environment() -> dict[str, str]:
    """Return the child's variables: proxies and certificates as this process has them."""
    kept = {name for word in _PASSED_ON for name in (word, word.lower())}
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"} | {
        name: value for name, value in os.environ.items() if name in kept
    }


def _validated(answer: Json) -> Reply:
    """Return the reply without recordings that are none; a stranger's nonsense costs no more than itself."""
    kept = []
    for given in answer.get("recordings", []):
        with contextlib.suppress(ValidationError):
            kept.append(FoundRecording.model_validate(given))
    problem = answer.get("problem")
    return Reply(
        recordings=tuple(kept),
        picture=bool(answer.get("picture")),
        stale=bool(answer.get("stale")),
        problem=None if problem is None else str(problem)[:500],
    )
