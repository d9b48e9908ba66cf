"""ID3v2 frames to and from a `TagSheet`: MP3, and the ID3 chunks of WAV and AIFF.

Written tags are ID3v2.4 in UTF-8, as Picard's default.
"""

import re
from typing import Any

from mutagen import id3

from ironclad_assets.audio.tag_formats.sheet import DESCRIPTIONS, FRONT_COVER, Picture, TagSheet

_TEXT_FRAMES = {
    "TALB": "ALBUM", "TBPM": "BPM", "TCMP": "COMPILATION", "TCOM": "COMPOSER", "TCOP": "COPYRIGHT",
    "TDOR": "ORIGINALDATE", "TDRC": "DATE", "TENC": "ENCODEDBY", "TEXT": "LYRICIST", "TIT1": "GROUPING",
    "TIT2": "TITLE", "TIT3": "SUBTITLE", "TKEY": "KEY", "TLAN": "LANGUAGE", "TLEN": "LENGTH", "TMED": "MEDIA",
    "TMOO": "MOOD", "TOAL": "ORIGINALALBUM", "TOPE": "ORIGINALARTIST", "TPE1": "ARTIST", "TPE2": "ALBUMARTIST",
    "TPE3": "CONDUCTOR", "TPE4": "REMIXER", "TPUB": "LABEL", "TSO2": "ALBUMARTISTSORT", "TSOA": "ALBUMSORT",
    "TSOC": "COMPOSERSORT", "TSOP": "ARTISTSORT", "TSOT": "TITLESORT", "TSRC": "ISRC",
    "TSSE": "ENCODERSETTINGS", "TSST": "DISCSUBTITLE",
}  # fmt: skip
_FRAMES_BY_NAME = {name: frame for frame, name in _TEXT_FRAMES.items()}
_PLAIN_COMMENTS = ("", "ID3v1 Comment")
_UTF8 = 3
_DATES = ("DATE", "ORIGINALDATE")
_DATE = re.compile(r"[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?", flags=re.ASCII)


def read_id3(tags: id3.ID3) -> TagSheet:
    """Return the sheet of a loaded `mutagen.id3.ID3` (any version, already translated to 2.4)."""
    sheet = TagSheet()
    for frame in tags.values():
        _read_frame(sheet, frame)
    return sheet


def fill_id3(tags: id3.ID3, *, sheet: TagSheet, cover: bytes | None) -> None:
    """Replace everything in `tags` by the sheet and the JPEG `cover`."""
    tags.clear()
    fields = dict(sheet.fields)
    tags.add(id3.TRCK(encoding=_UTF8, text=_numbered(fields, "TRACKNUMBER", total="TRACKTOTAL")))
    tags.add(id3.TPOS(encoding=_UTF8, text=_numbered(fields, "DISCNUMBER", total="DISCTOTAL")))
    for name, values in fields.items():
        tags.add(_frame(name, values))
    for empty in [key for key in ("TRCK", "TPOS") if not tags[key].text]:
        del tags[empty]
    if cover is not None:
        tags.add(id3.APIC(encoding=_UTF8, mime="image/jpeg", type=FRONT_COVER, desc="", data=cover))


def _read_frame(sheet: TagSheet, frame: Any) -> None:  # noqa: ANN401 - mutagen gives frames their fields at run time
    match frame.FrameID:
        case "TCON":
            sheet.add("GENRE", frame.genres)
        case "TRCK":
            sheet.add_numbered("TRACKNUMBER", total="TRACKTOTAL", value=str(frame))
        case "TPOS":
            sheet.add_numbered("DISCNUMBER", total="DISCTOTAL", value=str(frame))
        case "TXXX":
            sheet.add(frame.desc, frame.text)
        case "COMM":
            if not frame.desc.startswith("iTun"):
                sheet.add("COMMENT" if frame.desc in _PLAIN_COMMENTS else f"COMMENT:{frame.desc}", frame.text)
        case "USLT":
            sheet.add("LYRICS", [frame.text])
        case "UFID" if frame.owner == "http://musicbrainz.org":
            sheet.add("MUSICBRAINZ_TRACKID", [frame.data.decode("ascii", "replace")])
        case "APIC":
            if frame.mime != "-->":  # a link to a picture, which nobody here follows
                sheet.pictures.append(Picture(data=frame.data, kind=int(frame.type)))
        case kind if kind.startswith("T") and hasattr(frame, "text"):
            sheet.add(_TEXT_FRAMES.get(kind, kind), frame.text)
        case kind if kind.startswith("W") and hasattr(frame, "url"):
            sheet.add(kind, [frame.url])


def _frame(name: str, values: list[str]) -> id3.Frame:
    if name in _DATES and not all(_DATE.fullmatch(value) for value in values):
        return id3.TXXX(encoding=_UTF8, desc=name, text=values)  # a time frame would lose "spring 1999"
    if name == "COMMENT":
        return id3.COMM(encoding=_UTF8, lang="eng", desc="", text=values)
    if name == "LYRICS":
        return id3.USLT(encoding=_UTF8, lang="eng", desc="", text="\n\n".join(values))
    if name == "GENRE":
        return id3.TCON(encoding=_UTF8, text=values)
    frame = _FRAMES_BY_NAME.get(name)
    if frame is None:
        return id3.TXXX(encoding=_UTF8, desc=DESCRIPTIONS.get(name, name), text=values)
    return id3.Frames[frame](encoding=_UTF8, text=values)


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
