"""Tags that are only read: APEv2 (WavPack, and MP3 as a fallback), ASF (WMA)."""

import struct

from mutagen.apev2 import APEv2
from mutagen.asf import ASFTags

from ironclad_assets.audio.tag_formats.mapping import ASF
from ironclad_assets.audio.tag_formats.sheet import FRONT_COVER, Picture, TagSheet

_ASF_NUMBERED = {"WM/TrackNumber": ("TRACKNUMBER", "TRACKTOTAL"), "WM/PartOfSet": ("DISCNUMBER", "DISCTOTAL")}
_ASF_PICTURE_HEAD = struct.Struct("<bi")
_OLD_TRACK = "WM/Track"
"""Counts from 0; of the time before WM/TrackNumber."""


def read_ape(tags: APEv2) -> TagSheet:
    """Return the sheet of loaded `APEv2` tags."""
    sheet = TagSheet()
    for name, value in (tags or {}).items():
        upper = name.upper()
        if upper.startswith("COVER ART") and value.kind != 0:
            # The value is a file name, a NUL, and the picture.
            data = bytes(value.value).partition(b"\0")[2]
            sheet.pictures.append(Picture(data=data, kind=FRONT_COVER if "FRONT" in upper else 0))
        elif upper in ("TRACK", "DISC"):
            sheet.add_numbered(f"{upper}NUMBER", total=f"{upper}TOTAL", value=str(value))
        elif value.kind == 0:  # text; binary and external values are not tags that can be shown
            sheet.add(name, list(value))
    return sheet


def read_asf(tags: ASFTags | None) -> TagSheet:
    """Return the sheet of loaded ASF attributes."""
    sheet = TagSheet()
    if tags is None:
        return sheet
    for name in sorted({name for name, _ in tags}):
        values = [value.value for value in tags[name]]
        if name == "WM/Picture":
            sheet.pictures.extend(_asf_picture(bytes(value)) for value in values)
        elif name in _ASF_NUMBERED:
            number, total = _ASF_NUMBERED[name]
            sheet.add_numbered(number, total=total, value=str(values[0]))
        elif name == "WM/IsCompilation":
            sheet.add("COMPILATION", ["1"] if values[0] else [])
        elif name == _OLD_TRACK:
            if "WM/TrackNumber" not in tags and str(values[0]).isdigit():
                sheet.add("TRACKNUMBER", [int(values[0]) + 1])
        elif not isinstance(values[0], bytes):
            sheet.add(ASF.get(name, name.removeprefix("WM/").replace("/", " ")), values)
    return sheet


def _asf_picture(value: bytes) -> Picture:
    """Return the picture of a WM/Picture value: type, size, two UTF-16 strings ended by NUL, data."""
    if len(value) < _ASF_PICTURE_HEAD.size:
        return Picture(data=b"", kind=0)
    kind, size = _ASF_PICTURE_HEAD.unpack_from(value)
    rest = value[_ASF_PICTURE_HEAD.size :]
    for _ in range(2):
        end = next((at for at in range(0, len(rest) - 1, 2) if rest[at : at + 2] == b"\0\0"), len(rest))
        rest = rest[end + 2 :]
    return Picture(data=rest[:size], kind=kind)
