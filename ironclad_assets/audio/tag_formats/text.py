"""Makes what an uploader wrote into a tag safe to show, store and write again: bounded, NFC, without controls.

Wrong encodings are the matter of `repair`; which names and how many values there are, of `sheet`.
"""

import re
import unicodedata

MAX_VALUE_BYTES = 4096
MAX_LYRICS_BYTES = 65536
"""Lyrics of a long song in a script of three bytes a letter take 15 kB."""

_LINE_ENDS = re.compile(r"\r\n?|[\u2028\u2029\x0b\x0c\x85]")
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x1b\x07\x9c]*(?:\x1b\\|[\x07\x9c])"
)
"""What a terminal would obey: ECMA-48 control sequences, and control strings that have their end."""

_OVERRIDES = "\u202a-\u202e\u2066-\u2069"
"""Explicit directions: they reach beyond their value and make ``gpj.exe`` look like ``exe.jpg``. Marks stay."""

_UNWANTED = re.compile(
    rf"[\x00-\x08\x0e-\x1f\x7f-\x9f{_OVERRIDES}\ufeff\ufff9-\ufffb\ufdd0-\ufdef"
    + "".join(rf"\U{plane:04x}fffe\U{plane:04x}ffff" for plane in range(17))
    + "]"
)
"""Controls other than tab and line ends, overrides of direction, and what is no character in any text."""

_HOSTILE = re.compile(rf"[\x01-\x08\x0e-\x1f\x7f{_OVERRIDES}]")


def clean_text(value: str, *, most_bytes: int = MAX_VALUE_BYTES) -> tuple[str, bool]:
    """Return `value` as NFC without control characters and at most `most_bytes` long, and whether it was cut.

    Line ends become ``\\n``; tabs stay; terminal sequences go as a whole; lone surrogates become U+FFFD.
    """
    text = value[: 4 * most_bytes]
    if not text.isascii():
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    text = _UNWANTED.sub("", _LINE_ENDS.sub("\n", _ESCAPES.sub("", text)))
    text = unicodedata.normalize("NFC", text).strip()
    data = text.encode()
    if len(data) > most_bytes:
        text = data[:most_bytes].decode(errors="ignore").rstrip()
    return text, len(data) > most_bytes or len(value) > 4 * most_bytes


def clean_line(value: str) -> str:
    """Return `value` on one line, for what a player shows in one: titles, names."""
    return " ".join(part for part in map(str.strip, re.split(r"[\n\t]", value)) if part)


def is_hostile(value: str) -> bool:
    """Return whether `value` holds what nobody types into a tag: controls, terminal sequences, overrides."""
    return _HOSTILE.search(value) is not None
