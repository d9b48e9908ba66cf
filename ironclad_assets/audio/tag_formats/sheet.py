"""The neutral form of a file's tags: Vorbis comment names, clean Unicode values, pictures.

Every format's module turns its tags into a `TagSheet` and back; what a field means for the product is decided
in `audio/tags.py`. Values are bounded here, because a tag is whatever the uploader wrote.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field

MAX_VALUE_BYTES = 4096
MAX_FIELDS = 100
MAX_VALUES = 64
"""Values of one field."""

MAX_NAME_CHARS = 80

FRONT_COVER = 3
"""Type of a front cover, in ID3v2 and FLAC alike."""

_LINE_ENDS = re.compile(r"\r\n?|[\u2028\u2029\x0b\x0c\x85]")
_NUMBERED = re.compile(r"\s*([0-9]+)\s*/\s*([0-9]+)\s*", flags=re.ASCII)
_NAME = re.compile(r"[^ -<>-}]")
_ALIASES = {
    "ALBUM ARTIST": "ALBUMARTIST",
    "ALBUM_ARTIST": "ALBUMARTIST",
    "DISC": "DISCNUMBER",
    "TOTALDISCS": "DISCTOTAL",
    "TOTALTRACKS": "TRACKTOTAL",
    "TRACK": "TRACKNUMBER",
    "UNSYNCEDLYRICS": "LYRICS",
    "YEAR": "DATE",
    "ACOUSTID FINGERPRINT": "ACOUSTID_FINGERPRINT",
    "ACOUSTID ID": "ACOUSTID_ID",
    "MUSICBRAINZ ALBUM ARTIST ID": "MUSICBRAINZ_ALBUMARTISTID",
    "MUSICBRAINZ ALBUM ID": "MUSICBRAINZ_ALBUMID",
    "MUSICBRAINZ ARTIST ID": "MUSICBRAINZ_ARTISTID",
    "MUSICBRAINZ DISC ID": "MUSICBRAINZ_DISCID",
    "MUSICBRAINZ RELEASE GROUP ID": "MUSICBRAINZ_RELEASEGROUPID",
    "MUSICBRAINZ RELEASE TRACK ID": "MUSICBRAINZ_RELEASETRACKID",
    "MUSICBRAINZ TRACK ID": "MUSICBRAINZ_TRACKID",
    "MUSICBRAINZ WORK ID": "MUSICBRAINZ_WORKID",
}
"""Other spellings of names that have one meaning."""

DESCRIPTIONS = {
    "MUSICBRAINZ_ALBUMARTISTID": "MusicBrainz Album Artist Id",
    "MUSICBRAINZ_ARTISTID": "MusicBrainz Artist Id",
    "MUSICBRAINZ_WORKID": "MusicBrainz Work Id",
}
"""Names in ID3 (TXXX) and MP4 (free-form) that differ from the Vorbis name; only those that are ever written."""


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

    max_fields: int = MAX_FIELDS
    fields: dict[str, list[str]] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, name: str, values: Iterable[object]) -> None:
        """Add the values to the field, without those that are empty or there already."""
        key = canonical_name(name)
        if not key:
            return
        if key not in self.fields and len(self.fields) >= self.max_fields:
            self._warn(f"the file has more than {self.max_fields} tags; the rest is left out")
            return
        kept = self.fields.setdefault(key, [])
        for value in values:
            text, cut = clean_text(str(value))
            if cut:
                self._warn(f"the tag {key} is longer than {MAX_VALUE_BYTES} bytes and was cut")
            if text and text not in kept and len(kept) < MAX_VALUES:
                kept.append(text)
        if not kept:
            del self.fields[key]

    def fill_from(self, other: "TagSheet") -> None:
        """Add the fields and pictures of `other` that are missing here."""
        for name, values in other.fields.items():
            if name not in self.fields:
                self.add(name, values)
        if not self.pictures:
            self.pictures.extend(other.pictures)

    def add_numbered(self, name: str, *, total: str, value: str) -> None:
        """Add ``3/12`` as number and total, anything else as it is."""
        match = _NUMBERED.fullmatch(value)
        self.add(name, [match[1] if match else value])
        self.add(total, [match[2] if match else ""])

    def _warn(self, warning: str) -> None:
        if warning not in self.warnings:
            self.warnings.append(warning)


def canonical_name(name: str) -> str:
    """Return the one spelling of a tag's name: upper case, printable ASCII without ``=``, known aliases resolved."""
    upper = _NAME.sub("", name.strip().upper())[:MAX_NAME_CHARS].strip()
    return _ALIASES.get(upper, upper)


def clean_text(value: str) -> tuple[str, bool]:
    """Return `value` as NFC without control characters and at most 4 kB long, and whether it was cut.

    Line ends become ``\\n``; tabs stay; lone surrogates become U+FFFD.
    """
    text = value[: 4 * MAX_VALUE_BYTES].encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    text = unicodedata.normalize("NFC", _LINE_ENDS.sub("\n", text))
    text = "".join(char for char in text if char in "\n\t" or unicodedata.category(char) != "Cc").strip()
    data = text.encode()
    kept = data[:MAX_VALUE_BYTES].decode(errors="ignore").rstrip()
    return kept, len(data) > MAX_VALUE_BYTES or len(value) > 4 * MAX_VALUE_BYTES
