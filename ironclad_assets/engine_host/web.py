"""One request over HTTP: which addresses are asked, which redirects are followed, what an answer's head says."""

import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from http.client import HTTPResponse
from typing import IO, Any, cast
from urllib.parse import urlsplit

_ALWAYS = {"User-Agent": "ironclad", "Accept-Encoding": "identity"}
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""Statuses that another try may mend."""


class NotFollowed(Exception):  # noqa: N818 - a decision, not a fault
    """The address, or where it redirects to, is none that we ask."""


class _CarefulRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only to HTTPS, or within the very server that was asked."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        """Return the request to follow, or refuse it."""
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme != "https" and (old.scheme, old.netloc) != (new.scheme, new.netloc):
            raise NotFollowed(f"it redirects to {newurl}, which is not HTTPS")
        return super().redirect_request(req, fp, code, msg, cast(Any, headers), newurl)  # typeshed's HTTPMessage


def open_url(url: str, *, headers: Mapping[str, str], timeout_s: float) -> HTTPResponse:
    """Return the open answer of `url`; proxies come from the usual variables.

    Raises:
        NotFollowed: it is not HTTP, or redirects to where we do not go.
        urllib.error.HTTPError: a status of 400 or more.
        OSError, http.client.HTTPException: there is no answer.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise NotFollowed("only http and https addresses are fetched")
    opener = urllib.request.build_opener(_CarefulRedirects())
    request = urllib.request.Request(url, headers={**_ALWAYS, **headers})  # noqa: S310 - the scheme was looked at
    return cast(HTTPResponse, opener.open(request, timeout=timeout_s))  # of http and https it always is


def worth_trying_again(error: Exception) -> bool:
    """Return whether the same request may succeed in a while."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code in _AGAIN
    return not isinstance(getattr(error, "reason", error), ssl.SSLCertVerificationError)


def reason_of(error: Exception) -> str:
    """Return in words why there was no answer."""
    return str(getattr(error, "reason", None) or error) or type(error).__name__


def total_bytes(response: HTTPResponse, *, start: int) -> int | None:
    """Return the size of the whole file whose part from `start` is coming, None where nobody says."""
    length = response.headers.get("Content-Length")
    return start + int(length) if length is not None and length.isdecimal() else None


def part_start(response: HTTPResponse) -> int | None:
    """Return where the part begins that a 206 brings, as ``Content-Range: bytes START-END/TOTAL`` says."""
    given = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(given) if given.isdecimal() else None


def validator(response: HTTPResponse) -> str:
    """Return what tells one version of the file from another: a strong ETag, else the date (RFC 9110, 13.1.5)."""
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")
