"""The request that this process is working for: an id that every line of history, audit and log carries.

A face binds one for each request it answers, a command for its whole life; what nobody asked for has none.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_request: ContextVar[str | None] = ContextVar("ironclad_request", default=None)


def current_request() -> str | None:
    """Return the id of the request that is being answered, or None."""
    return _request.get()


@contextmanager
def bind_request(request_id: str | None = None) -> Iterator[str]:
    """Answer a request with the id `request_id` (at most 64 characters), or a new one, inside the block."""
    chosen = (request_id or uuid.uuid4().hex)[:64]
    token = _request.set(chosen)
    try:
        yield chosen
    finally:
        _request.reset(token)
