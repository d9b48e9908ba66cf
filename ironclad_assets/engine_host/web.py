"""One request over HTTP: which addresses are asked, what an answer's head says. Redirects are `redirects`'."""

import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPResponse
from typing import cast
from urllib.parse import urlsplit

from ironclad_assets.redirects import CarefulRedirects, NotFollowed

_ALWAYS = {"User-Agent": "ironclad", "Accept-Encoding": "identity"}
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""Statuses that another try may mend."""


def open_url(url: str, *, headers: Mapping[str, str], timeout_s: float) -> HTTPResponse:
    """Return the open answer of `url`; proxies come from the usual variables.

    Raises:
        NotFollowed: it is not HTTP, or redirects to where we do not go.
        urllib.error.HTTPError: a status of 400 or more.
        OSError, http.client.HTTPException: there is no answer.
    """
    scheme = urlsplit(url).scheme
    if scheme not in ("http", "https"):
        raise NotFollowed("only http and https addresses are fetched", scheme=scheme)
    opener = urllib.request.build_opener(CarefulRedirects())
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
