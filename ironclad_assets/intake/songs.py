"""Ids of songs: opaque, and in the order of their upload.

An id is ``s``, 48 bits of milliseconds since 1970 and 80 bits that tell apart what came in the same
millisecond, in lower-case Crockford base 32, whose characters sort as their values do.
"""

import hashlib
import os
import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_TIME_CHARACTERS = 10
_TAIL_CHARACTERS = 16
_TAIL_BYTES = 10
_MILLISECOND_NS = 1_000_000


def new_song() -> str:
    """Return an id that no song has."""
    return _spell(time.time_ns(), tail=secrets.token_bytes(_TAIL_BYTES))


def name_refusal(status: os.stat_result, *, user_id: str) -> str:
    """Return the id of a file that is refused unread: always the same one, until the file changes.

    So a refusal that was interrupted is finished under its first id, not told twice.
    """
    facts = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, user_id)
    tail = hashlib.sha256(repr(facts).encode()).digest()[:_TAIL_BYTES]
    return _spell(status.st_ctime_ns, tail=tail)


def _spell(time_ns: int, *, tail: bytes) -> str:
    milliseconds = max(time_ns // _MILLISECOND_NS, 0)
    number = int.from_bytes(tail, "big")
    return f"s{_digits(milliseconds, count=_TIME_CHARACTERS)}{_digits(number, count=_TAIL_CHARACTERS)}"


def _digits(number: int, *, count: int) -> str:
    return "".join(_ALPHABET[(number >> (5 * place)) & 31] for place in reversed(range(count)))
