"""Names from outside: what a user may be called, and what an uploader's file name looks like to people.

A raw file name may hold anything but a slash: newlines, escapes, bytes that are no text. What is shown is a name
without danger; what becomes a path is an id of ours, never a name.
"""

import re
import unicodedata

from ironclad_assets.errors import ErrorCode, Refusal

USER_PATTERN = r"[a-z0-9_-]{1,64}"

LONGEST_NAME_BYTES = 200
NAMELESS = "unnamed"

_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,8}$")

_BREAKS = frozenset("\t\n\v\f\r\x1c\x1d\x1e\x1f\x85\u2028\u2029")
_UNSHOWN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
"""Unicode categories of control, format (bidi, zero width), surrogate, private and unassigned characters."""


def check_user(user_id: str) -> None:
    """Raise unless `user_id` is a user's name.

    Raises:
        Refusal: `BAD_USER`.
    """
    if re.fullmatch(USER_PATTERN, user_id) is None:
        raise Refusal(f"{user_id!r} is no user name", code=ErrorCode.BAD_USER)


def display_name(raw: bytes | str) -> str:
    """Return the last part of a raw name as one line of NFC text, at most 200 bytes, nothing invisible in it.

    Bytes that are no UTF-8 show as U+FFFD, also where Python read them as surrogates.
    """
    encoded = raw if isinstance(raw, bytes) else _encode(raw)
    text = encoded.decode("utf-8", errors="replace").replace("\\", "/").rstrip("/").rpartition("/")[2]
    shown = printable(text)
    return NAMELESS if shown in ("", ".", "..") else _cut(shown)


def printable(text: str) -> str:
    """Return `text` as one line without control, bidi or invisible characters; line breaks become a blank."""
    shown = "".join(
        " " if character in _BREAKS else "" if unicodedata.category(character) in _UNSHOWN else character
        for character in unicodedata.normalize("NFC", text)
    )
    return " ".join(shown.split())


def _encode(text: str) -> bytes:
    try:
        return text.encode("utf-8", errors="surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate that stands for no byte
        return text.encode("utf-8", errors="replace")


def _cut(text: str) -> str:
    """Return `text` cut at a code point to the longest name; an extension stays."""
    encoded = text.encode("utf-8")
    if len(encoded) <= LONGEST_NAME_BYTES:
        return text
    match = _EXTENSION.search(text)
    extension = match[0] if match else ""
    return encoded[: LONGEST_NAME_BYTES - len(extension)].decode("utf-8", errors="ignore").rstrip() + extension
