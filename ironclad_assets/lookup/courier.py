"""Carries one question to a source and its answer back: cache, rest, turn, request, in this order.

Every rule of politeness is here, so that no client can forget one. What the question means and whether the answer
is well-formed is the client's business. Runs in the lookup's child: standard library only.
"""

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import cast
from urllib.parse import urlsplit

from ironclad_assets.lookup.state import KeptAnswer, SharedState
from ironclad_assets.redirects import CarefulRedirects, NotFollowed

PUBLIC_HOSTS = frozenset({"musicbrainz.org", "coverartarchive.org", "api.acoustid.org"})
"""Servers of the community: no setting makes us ask them more than once a second."""

PUBLIC_INTERVAL_S = 1.0
RETRY_AFTER_S = 2.0
"""Pause where a busy server does not say how long."""

_BUSY = (429, 503)
_BLOCK_BYTES = 64 * 1024
_DAY_S = 86_400.0


class NoAnswer(Exception):  # noqa: N818 - it says what it is
    """The source gave no answer; the text says why, without times or addresses that change from try to try."""


@dataclass(frozen=True, slots=True)
class Manners:
    """How a source is asked.

    Attributes:
        agent: the User-Agent, with a contact.
        request_s: longest wait for one answer.
        interval_s: least time between two requests to one host.
        cache_days: how long an answer counts as new.
        absent_days: the same for "unknown".
        failures: in a row, after which a source is left alone.
        rest_s: for how long.
    """

    agent: str
    request_s: float
    interval_s: float
    cache_days: float
    absent_days: float
    failures: int
    rest_s: float

    def interval_for(self, host: str) -> float:
        """Return the least time between two requests to `host`."""
        public = host.rpartition("@")[2].partition(":")[0].casefold() in PUBLIC_HOSTS
        return max(self.interval_s, PUBLIC_INTERVAL_S) if public else self.interval_s


@dataclass(frozen=True, slots=True)
class Question:
    """One request.

    Attributes:
        source: whose health it concerns.
        name: the source's name for people.
        url: its address.
        key: under which the answer is kept; "" keeps none.
        max_bytes: a longer answer is none.
        check: returns whether the body tells of anything; raises `ValueError` with the reason where it is no answer.
        data: a form to post.
        headers: more headers.
        absent: statuses that mean "unknown".
    """

    source: str
    name: str
    url: str
    key: str
    max_bytes: int
    check: Callable[[bytes], bool]
    data: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    absent: tuple[int, ...] = (400, 404)


class _NoTurn(NoAnswer):
    """It was not asked, so nothing is known about its health."""


class _BusyServer(NoAnswer):
    """The server asks to be left alone for `pause_s`."""

    def __init__(self, why: str, *, pause_s: float) -> None:
        super().__init__(why)
        self.pause_s = pause_s


class Courier:
    """Asks on behalf of one song, until its time is up."""

    def __init__(self, state: SharedState, *, manners: Manners, deadline: float) -> None:
        self._state = state
        self._manners = manners
        self._deadline = deadline
        self.excuse: str | None = None
        """Why an old answer had to do, since this was last set to None."""

    def ask(self, question: Question) -> bytes | None:
        """Return the answer, None for "unknown"; from the cache where it is new enough.

        Raises:
            NoAnswer: there is none, not even an old one.
        """
        kept = self._state.answer(question.key) if question.key else None
        if kept is not None and self._is_new(kept):
            return None if kept.status != 200 else kept.body
        try:
            body = self._ask_politely(question)
        except NoAnswer as failed:
            if kept is None or kept.status != 200:
                raise
            self.excuse = str(failed)
            return kept.body
        if question.key:
            self._state.keep(question.key, status=404 if body is None else 200, body=body or b"")
        return body

    def forget(self, key: str) -> None:
        """Forget a kept answer that turned out to be none."""
        self._state.forget(key)

    def _is_new(self, kept: KeptAnswer) -> bool:
        days = self._manners.cache_days if kept.status == 200 else self._manners.absent_days
        return 0 <= time.time() - kept.at < days * _DAY_S

    def _ask_politely(self, question: Question) -> bytes | None:
        """Return the body, None for "unknown"; note in the shared state how it went."""
        name, manners = question.name, self._manners
        if not self._state.may_ask(question.source):
            raise NoAnswer(f"{name} was not asked: it gave no answer several times in a row")
        try:
            body = self._ask_twice(question)
        except _NoTurn:
            raise
        except NoAnswer as failed:
            self._state.failed(question.source, why=str(failed), after=manners.failures, rest_s=manners.rest_s)
            raise
        self._state.succeeded(question.source)
        return body

    def _ask_twice(self, question: Question) -> bytes | None:
        host = urlsplit(question.url).netloc
        try:
            self._wait_for_turn(host, name=question.name)
            return self._request(question)
        except _BusyServer as busy:
            self._state.block(host, seconds=busy.pause_s)
            if busy.pause_s >= self._left_s():
                raise
        self._wait_for_turn(host, name=question.name)
        try:
            return self._request(question)
        except _BusyServer as busy:
            self._state.block(host, seconds=busy.pause_s)
            raise

    def _left_s(self) -> float:
        return self._deadline - time.monotonic()

    def _wait_for_turn(self, host: str, *, name: str) -> None:
        interval_s = self._manners.interval_for(host)
        while True:
            wait_s = self._state.take_turn(host, interval_s=interval_s, patience_s=self._left_s())
            if wait_s is None and self._state.blocked_s(host) > 0.0:
                raise _NoTurn(f"{name} was not asked: it is too busy and wants to be left alone for a while")
            if wait_s is None:
                raise _NoTurn(f"{name} was not asked: the time for this song was up before its turn")
            time.sleep(wait_s)
            if self._state.blocked_s(host) == 0.0:
                return

    def _request(self, question: Question) -> bytes | None:
        name = question.name
        headers = {"User-Agent": self._manners.agent, "Accept-Encoding": "identity", **question.headers}
        request = urllib.request.Request(question.url, data=question.data, headers=headers)  # noqa: S310 - see settings
        stop = min(self._deadline, time.monotonic() + self._manners.request_s)
        try:
            timeout_s = max(0.05, stop - time.monotonic())
            opener = urllib.request.build_opener(CarefulRedirects())
            with cast(http.client.HTTPResponse, opener.open(request, timeout=timeout_s)) as response:
                body = _read(response, max_bytes=question.max_bytes, stop=stop, name=name)
        except urllib.error.HTTPError as error:
            with error:
                if error.code in question.absent:
                    return None
                raise _refusal(error, name=name) from error
        except NotFollowed as error:
            raise NoAnswer(f"{name} cannot be reached: it redirects to a {error.scheme} address") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NoAnswer(_reason(error, name=name)) from error
        try:
            return body if question.check(body) else None
        except ValueError as error:
            raise NoAnswer(f"{name} answered something else than was asked for: {error}") from error


def _read(response: http.client.HTTPResponse, *, max_bytes: int, stop: float, name: str) -> bytes:
    """Return the whole body; a slow trickle is ended as a silent server is."""
    received = bytearray()
    while block := response.read1(_BLOCK_BYTES):
        received += block
        if len(received) > max_bytes:
            raise NoAnswer(f"{name} sent more than {max_bytes} bytes")
        if time.monotonic() > stop:
            raise TimeoutError
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and len(received) < int(length):
        raise NoAnswer(f"{name} broke off its answer")
    return bytes(received)


def _refusal(error: urllib.error.HTTPError, *, name: str) -> NoAnswer:
    if error.code in _BUSY:
        pause_s = _retry_after(error.headers.get("Retry-After"))
        return _BusyServer(f"{name} is too busy (HTTP {error.code})", pause_s=pause_s)
    return NoAnswer(f"{name} refused (HTTP {error.code})")


def _retry_after(given: str | None) -> float:
    """Return the pause that a Retry-After header asks for: seconds, or a date (RFC 9110, 10.2.3)."""
    if given is None:
        return RETRY_AFTER_S
    if given.strip().isdecimal():
        return float(given)
    try:
        at = parsedate_to_datetime(given)
    except ValueError:
        return RETRY_AFTER_S
    return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds())


def _reason(error: Exception, *, name: str) -> str:
    cause = getattr(error, "reason", error)
    if isinstance(cause, TimeoutError):
        return f"{name} gave no answer in time"
    if isinstance(cause, ConnectionRefusedError):
        return f"{name} refused the connection"
    if isinstance(error, http.client.IncompleteRead | http.client.RemoteDisconnected | ConnectionResetError):
        return f"{name} broke off its answer"
    return f"{name} cannot be reached: {cause}"[:500]
