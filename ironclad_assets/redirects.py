"""Which redirects an outgoing request follows, whoever asks: downloads of weights, and lookups of metadata.

Standard library only. What is asked, how often and for how long belongs to `engine_host.web` and `lookup.courier`.
"""

import urllib.request
from email.message import Message
from typing import IO, Any, cast
from urllib.parse import urlsplit


class NotFollowed(Exception):  # noqa: N818 - a decision, not a fault
    """The address, or where it redirects to, is none that we ask. `scheme` is that of this address."""

    def __init__(self, why: str, *, scheme: str) -> None:
        super().__init__(why)
        self.scheme = scheme


class CarefulRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only to HTTPS, or within the very server that was asked."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        """Return the request to follow, or refuse it.

        Raises:
            NotFollowed: it leads to another server without HTTPS.
        """
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme != "https" and (old.scheme, old.netloc) != (new.scheme, new.netloc):
            raise NotFollowed(f"it redirects to {newurl}, which is not HTTPS", scheme=new.scheme)
        return super().redirect_request(req, fp, code, msg, cast(Any, headers), newurl)  # typeshed's HTTPMessage
