"""The neutral form of a file's tags: Vorbis comment names, clean Unicode values, pictures.

Every format's module turns its tags into a `TagSheet` and back; what a field means for the product is decided
in `audio/tags.py`. Values are bounded here, because a tag is whatever the uploader wrote.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from ironclad_assets.audio.tag_formats.mapping import ALIASES, KNOWN
from ironclad_assets.audio.tag_formats.repair import undo_double
from ironclad_assets.audio.tag_formats.text import MAX_LYRICS_BYTES, MAX_VALUE_BYTES, clean_text, is_hostile

MAX_FIELDS = 100
"""Fields of a file that the table of `mapping` does not know."""

MAX_VALUES = 64
"""Values of one field."""

MAX_SHEET_BYTES = 256 * 1024
"""Bytes of all values of a file, of names that are known and of others each; what comes after them is left out."""

MAX_NAME_CHARS = 80

FRONT_COVER = 3
"""Type of a front cover, in ID3v2 and FLAC alike."""

_NUMBERED = re.compile(r"\s*([0-9]+)\s*/\s*([0-9]+)\s*", flags=re.ASCII)
_NAME = re.compile(r"[^ -<>-}]")
_LONG = ("LYRICS", "SYNCEDLYRICS")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as it lies in the file, not yet looked at. `kind` is the ID3v2 picture type."""

    data: bytes
    kind: int


@dataclass(frozen=True, slots=True)
class Cover:
    """A cover ready to be delivered: JPEG, RGB."""

    data: bytes
    width_px: int
    height_px: int


@dataclass(slots=True)
class TagSheet:
    """Tags by canonical name, in the order they were met, and pictures."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    _unknown: int = 0
    _size_bytes: dict[bool, int] = field(default_factory=dict)

    def add(self, name: str, values: Iterable[object]) -> None:
        """Add the values to the field, without those that are empty or there already."""
        key = canonical_name(name)
        if not key or (key not in self.fields and not self._has_room(key)):
            return
        kept = self.fields.get(key, [])
        for value in values:
            text = self._clean(key, str(value))
            if text and text not in kept and len(kept) < MAX_VALUES and self._takes(key, text):
                kept.append(text)
        if kept and key not in self.fields:
            self.fields[key] = kept
            self._unknown += key not in KNOWN

    def fill_from(self, other: "TagSheet") -> None:
        """Add the fields and pictures of `other` that are missing here."""
        for name, values in other.fields.items():
            if name not in self.fields:
                self.add(name, values)
        if not self.pictures:
            self.pictures.extend(other.pictures)
        for warning in other.warnings:
            self.warn(warning)

    def add_numbered(self, name: str, *, total: str, value: str) -> None:
        """Add ``3/12`` as number and total, anything else as it is."""
        match = _NUMBERED.fullmatch(value)
        self.add(name, [match[1] if match else value])
        self.add(total, [match[2] if match else ""])

    def warn(self, warning: str) -> None:
        """Add a warning, once."""
        if warning not in self.warnings:
            self.warnings.append(warning)

    def _has_room(self, key: str) -> bool:
        if key in KNOWN or self._unknown < MAX_FIELDS:
            return True
        self.warn(f"the file has more than {MAX_FIELDS} tags of its own; the rest is left out")
        return False

    def _clean(self, key: str, value: str) -> str:
        most = MAX_LYRICS_BYTES if key in _LONG else MAX_VALUE_BYTES
        if is_hostile(value[: 4 * most]):
            self.warn(f"the tag {key} had control characters or overrides of direction, which were removed")
        text, cut = self._mend(key, value[: 4 * most]), len(value) > 4 * most
        while (cleaned := clean_text(text, most_bytes=most))[0] != text:
            cut = cut or cleaned[1]
            text = self._mend(key, cleaned[0])
        if cut:
            self.warn(f"the tag {key} is longer than {most} bytes and was cut")
        if "\ufffd" in text:
            self.warn(f"the tag {key} has bytes or characters that mean nothing")
        return text

    def _mend(self, key: str, text: str) -> str:
        mended, doubtful = undo_double(text)
        if doubtful:
            self.warn(f"the tag {key} may be UTF-8 that was read as Latin-1")
        if mended != text:
            self.warn(f"the tag {key} was UTF-8 read as Latin-1, which was repaired")
        return mended

    def _takes(self, key: str, text: str) -> bool:
        """Return whether `text` is kept: tags that are known, and those that are not, have an end."""
        known = key in KNOWN
        self._size_bytes[known] = self._size_bytes.get(known, 0) + len(text.encode())
        if self._size_bytes[known] <= MAX_SHEET_BYTES:
            return True
        self.warn(f"the tags of the file are longer than {MAX_SHEET_BYTES} bytes; {key} and others are left out")
        return False


def canonical_name(name: str) -> str:
    """Return the one spelling of a tag's name: upper case, printable ASCII without ``=``, known aliases resolved."""
    upper = _NAME.sub("", name.strip().upper())[:MAX_NAME_CHARS].strip()
    return ALIASES.get(upper, upper)
