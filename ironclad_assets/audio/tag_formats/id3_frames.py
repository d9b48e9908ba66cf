"""Writes a `TagSheet` as ID3 frames: version 2.4 in UTF-8 as Picard's default, 2.3 in UTF-16 for players of old.

What a frame cannot hold without change goes into a free text frame (TXXX) of its name.
"""

import re
from base64 import b64decode
from io import BytesIO
from typing import Any, Literal

from mutagen import id3

from ironclad_assets.audio.tag_formats.id3 import BINARY, NO_ROLE, V23_JOINER, read_id3, split_joined
from ironclad_assets.audio.tag_formats.mapping import FREE_ID3, ID3, UFID_OWNER, free_name
from ironclad_assets.audio.tag_formats.sheet import FRONT_COVER, TagSheet

Id3Version = Literal["2.3", "2.4"]

_LATIN1, _UTF16, _UTF8 = 0, 1, 3
_LANGUAGE = "eng"
_DATES = ("DATE", "ORIGINALDATE")
_DATE = re.compile(r"[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?", flags=re.ASCII)
_GENRE = re.compile(r"(?!RX$|CR$)[^(\n][^\n]*")
_URL = re.compile(r"[a-z]+://[!-~]+")
_PERFORMER = re.compile(r"(.+) \(([^()]+)\)", flags=re.DOTALL)
_ROLES = {name: frame.removeprefix("TIPL:") for name, frame in ID3.items() if frame.startswith("TIPL:")}
_URL_FRAMES = frozenset({"WCOM", "WCOP", "WOAF", "WOAR", "WOAS", "WORS", "WPAY", "WPUB"})
_KEPT_IN_V23 = ("TSOP", "TSOA", "TSOT", "TSST")
"""Frames of 2.4 that programs read from 2.3 too, and mutagen would drop."""


def fill_id3(tags: id3.ID3, *, sheet: TagSheet, cover: bytes | None, version: Id3Version = "2.4") -> None:
    """Replace everything in `tags` by the sheet and the JPEG `cover`, ready to be saved as `version`."""
    tags.clear()
    tags.unknown_frames.clear()
    encoding = _UTF8 if version == "2.4" else _UTF16
    fields = dict(sheet.fields)
    for kind, name, total in (("TRCK", "TRACKNUMBER", "TRACKTOTAL"), ("TPOS", "DISCNUMBER", "DISCTOTAL")):
        if numbers := _numbered(fields, name, total=total):
            tags.add(id3.Frames[kind](encoding=encoding, text=numbers))
    for kind, people in (("TIPL", _take_involved(fields)), ("TMCL", _take_performers(fields))):
        if people:
            tags.add(id3.Frames[kind](encoding=encoding, people=people))
    for name, values in fields.items():
        restored = _restore(name, values=values) if name.startswith(BINARY) and version == "2.4" else []
        for frame in restored or _frames(name, values, encoding=encoding):
            tags.add(frame)
    if version == "2.3":
        _turn_into_v23(tags)
    if cover is not None:
        text = _UTF8 if version == "2.4" else _LATIN1
        tags.add(id3.APIC(encoding=text, mime="image/jpeg", type=FRONT_COVER, desc="", data=cover))


def save_options(version: Id3Version) -> dict[str, Any]:
    """Return how mutagen is to save tags that `fill_id3` made."""
    return {"v2_version": int(version[-1]), "v23_sep": V23_JOINER}


def as_v23(sheet: TagSheet) -> TagSheet:
    """Return what will be read of the sheet from a tag of version 2.3, which has one value for each field."""
    said = TagSheet()
    for name, values in sheet.fields.items():
        whole = name in ("LYRICS", "PERFORMER", *_ROLES)  # a frame or a pair for each
        said.add(name, values if whole else [V23_JOINER.join(values)])
    split_joined(said)
    return said


def _frames(name: str, values: list[str], *, encoding: int) -> list[id3.Frame]:
    """Return the frames of a field: the one of the table if it can hold the values, else a free one."""
    kind = ID3.get(name, name)
    single = values[0] if len(values) == 1 else ""
    if name == "COMMENT":
        return [id3.COMM(encoding=encoding, lang=_LANGUAGE, desc="", text=values)]
    if name.startswith("COMMENT:") and not name.startswith(("COMMENT:ITUN", "COMMENT:ID3V1")) and name != "COMMENT:":
        return [id3.COMM(encoding=encoding, lang=_LANGUAGE, desc=name.removeprefix("COMMENT:"), text=values)]
    if name == "LYRICS":
        return [
            id3.USLT(encoding=encoding, lang=_LANGUAGE, desc=" " * number, text=value)
            for number, value in enumerate(values)
        ]
    if kind.startswith("UFID:") and single.isascii() and single:
        return [id3.UFID(owner=UFID_OWNER, data=single.encode("ascii"))]
    if kind in _URL_FRAMES and _URL.fullmatch(single):
        return [id3.Frames[kind](url=single)]
    if name in ID3 and kind in id3.Frames and kind not in _URL_FRAMES and _holds(name, values, encoding=encoding):
        return [id3.Frames[kind](encoding=encoding, text=values)]
    return [id3.TXXX(encoding=encoding, desc=free_name(name, table=ID3, prefix=FREE_ID3), text=values)]


def _holds(name: str, values: list[str], *, encoding: int) -> bool:
    """Return whether the field's own frame gives the values back as they are."""
    if name in _DATES:  # a time frame would lose "spring 1999"
        return all(_DATE.fullmatch(value) for value in values) and (encoding == _UTF8 or len(values) == 1)
    if name == "GENRE":  # numbers and brackets are numbers of genres
        return all(_GENRE.fullmatch(value) and not value.isdigit() for value in values)
    return name not in ("TRACKNUMBER", "TRACKTOTAL", "DISCNUMBER", "DISCTOTAL")


def _turn_into_v23(tags: id3.ID3) -> None:
    """Translate frames of 2.4 that 2.3 does not know, losing none of them."""
    kept = [frame for kind in _KEPT_IN_V23 for frame in tags.getall(kind)]
    for mood in tags.getall("TMOO"):
        kept.append(id3.TXXX(encoding=_UTF16, desc="MOOD", text=mood.text))
    for kind, name, lasting in (("TDRC", "DATE", (4, 10)), ("TDOR", "ORIGINALDATE", (4,))):
        for date in tags.getall(kind):
            if len(str(date)) not in lasting:  # the frames of 2.3 have no lone month, and no more than a year
                kept.append(id3.TXXX(encoding=_UTF16, desc=name, text=[str(date)]))
    tags.update_to_v23()
    for frame in kept:
        tags.add(frame)


def _restore(name: str, *, values: list[str]) -> list[id3.Frame]:
    """Return the frames that were kept as Base64; none unless all of them come back as they are."""
    tags = id3.ID3()
    kind = name.removeprefix(BINARY).encode("ascii")
    try:
        for value in values:
            content = b64decode(value, validate=True)
            frame = kind + id3.BitPaddedInt.to_str(len(content)) + b"\0\0" + content
            size = id3.BitPaddedInt.to_str(len(frame))
            for one in id3.ID3(BytesIO(b"ID3\x04\0\0" + size + frame)).values():
                tags.add(one)
    except Exception:  # noqa: BLE001 - what such a field holds may be anything; mutagen raises what it likes
        return []
    return list(tags.values()) if read_id3(tags).fields == {name: values} else []


def _take_involved(fields: dict[str, list[str]]) -> list[list[str]]:
    return [[role, value] for name, role in _ROLES.items() for value in fields.pop(name, [])]


def _take_performers(fields: dict[str, list[str]]) -> list[list[str]]:
    """Take PERFORMER out of `fields`: ``name (role)`` is a pair, anything else a name without a role."""
    pairs = []
    for value in fields.pop("PERFORMER", []):
        match = _PERFORMER.fullmatch(value)
        named = match is not None and match[2] not in (NO_ROLE, *_ROLES.values())
        pairs.append([match[2], match[1]] if match and named else [NO_ROLE, value])
    return pairs


def _numbered(fields: dict[str, list[str]], name: str, *, total: str) -> list[str]:
    """Take number and total out of `fields`; return ``n/N``, ``n``, or nothing.

    What such a frame cannot hold (several numbers, a slash, a total alone) stays for a frame of its own.
    """
    number, of = fields.get(name, []), fields.get(total, [])
    if len(number) != 1 or "/" in number[0]:
        return []
    del fields[name]
    if len(of) != 1 or not _is_number(number[0]) or not _is_number(of[0]):
        return number
    del fields[total]
    return [f"{number[0]}/{of[0]}"]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
