"""Reads ID3 frames into a `TagSheet`: MP3, and the ID3 chunks of WAV and AIFF. They are written in `id3_frames`.

Any version comes here translated to 2.4 by mutagen. Frames that hold no text are kept as Base64, so that nothing
that an uploader's programs put there is lost.
"""

import re
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

from mutagen import id3

from ironclad_assets.audio.tag_formats.mapping import ID3, UFID_OWNER
from ironclad_assets.audio.tag_formats.repair import CYRILLIC, KANA, Encoding, choose_encoding, decode_old
from ironclad_assets.audio.tag_formats.sheet import Picture, TagSheet
from ironclad_assets.audio.tag_formats.text import MAX_VALUE_BYTES

BINARY = "ID3:"
"""Begins the names of fields that hold a frame without text, as Base64."""

V23_JOINER = "; "
NO_ROLE = "performer"
"""What stands for the role of one who has none, as in Picard."""

_LATIN1 = 0
_TEXT_FRAMES = {frame: name for name, frame in ID3.items() if re.fullmatch("T[A-Z0-9]{3}|MVNM", frame)} | {
    "GRP1": "GROUPING",
    "XSOP": "ARTISTSORT",
    "XSOA": "ALBUMSORT",
}
_URL_FRAMES = {frame: name for name, frame in ID3.items() if frame.startswith("W")}
_ROLES = {frame.removeprefix("TIPL:"): name for name, frame in ID3.items() if frame.startswith("TIPL:")}
_PLAIN_COMMENTS = ("", "ID3v1 Comment")
_GAINS = {"track": "REPLAYGAIN_TRACK", "album": "REPLAYGAIN_ALBUM"}
_SKIPPED = ("APIC", "LINK", "SEEK", "ASPI", "ENCR", "GRID", "SIGN", "AENC", "MLLT", "POSS", "RBUF")
"""Of no use outside the very file they are in; pictures are looked at by themselves."""

_MAX_BINARY_BYTES = MAX_VALUE_BYTES // 4 * 3
_HEADER_BYTES = 10
_FLAGS = slice(8, 10)
"""Of a frame: whether it is compressed, encrypted or of a group."""

_JOINED_IN_V23 = ("GENRE", "ARTISTS", "ALBUMARTISTS")


def read_id3(tags: id3.ID3) -> TagSheet:
    """Return the sheet of a loaded `mutagen.id3.ID3` (any version, already translated to 2.4)."""
    sheet = TagSheet()
    frames = [frame for _, frame in sorted(tags.items(), key=_by_kind)]
    encoding = choose_encoding(text.encode("latin-1") for frame in frames for text in _latin1_texts(frame))
    if encoding.name in (KANA, CYRILLIC):
        sheet.warn(f"tags that promise Latin-1 are {encoding.name} and were read so")
    elif not encoding.certain:
        sheet.warn("tags that promise Latin-1 look as if they were written in another encoding")
    for frame in frames:
        _read_frame(sheet, frame, encoding=encoding)
    for frame in tags.unknown_frames:
        _read_unknown(sheet, bytes(frame), wide=tags.version >= (2, 3, 0))
    if tags.version[:2] == (2, 3):
        split_joined(sheet)
    return sheet


def _by_kind(item: tuple[str, Any]) -> tuple[str, int, str]:  # a frame of mutagen's
    """Return what to sort by where frames share a field: programs write frames in the order of their size."""
    key, kind = item[0], item[0][:4]
    if kind in ("TMCL", "USLT"):
        return kind, len(key), ""
    return ("", 0, "") if kind[0] in "ACTW" else (kind, 0, key)


def _latin1_texts(frame: Any) -> Iterator[str]:  # noqa: ANN401 - mutagen gives frames their fields at run time
    """Yield the texts of a frame that promises Latin-1 and goes beyond ASCII."""
    if getattr(frame, "encoding", None) == _LATIN1:
        texts = [frame.text] if isinstance(getattr(frame, "text", None), str) else getattr(frame, "text", [])
        names = [name for pair in getattr(frame, "people", []) for name in pair]
        for text in (*texts, *names, getattr(frame, "desc", "")):
            if isinstance(text, str) and not text.isascii():
                yield text


def _read_frame(sheet: TagSheet, frame: Any, *, encoding: Encoding) -> None:  # noqa: ANN401 - as above
    old = getattr(frame, "encoding", None) == _LATIN1

    def text(value: object) -> str:
        plain = str(value)
        return decode_old(plain.encode("latin-1"), encoding=encoding) if old and not plain.isascii() else plain

    def texts() -> list[str]:
        return [text(value) for value in frame.text]

    match frame.FrameID:
        case "TCON":
            sheet.add("GENRE", map(text, frame.genres))
        case "TRCK":
            sheet.add_numbered("TRACKNUMBER", total="TRACKTOTAL", value=str(frame))
        case "TPOS":
            sheet.add_numbered("DISCNUMBER", total="DISCTOTAL", value=str(frame))
        case "TXXX":
            sheet.add(text(frame.desc), texts())
        case "TIPL" | "TMCL" | "IPLS":
            for role, name in frame.people:
                _read_person(sheet, role=text(role), name=text(name))
        case "COMM":
            if not frame.desc.startswith("iTun"):
                desc = text(frame.desc)
                sheet.add("COMMENT" if desc in _PLAIN_COMMENTS else f"COMMENT:{desc}", texts())
        case "USLT":
            sheet.add("LYRICS", [text(frame.text)])
        case "SYLT":
            sheet.add("SYNCEDLYRICS", [_as_lrc(frame, text=text)])
        case "WXXX":
            sheet.add(f"WEBSITE:{text(frame.desc)}" if frame.desc else "WEBSITE", [frame.url])
        case kind if kind.startswith(("T", "MVN", "GRP")) and hasattr(frame, "text"):
            sheet.add(_TEXT_FRAMES.get(kind, kind), texts())
        case _:
            _read_other(sheet, frame)


def _read_other(sheet: TagSheet, frame: Any) -> None:  # noqa: ANN401 - as above
    """Read a frame that holds no text of the song's."""
    match frame.FrameID:
        case "UFID" if frame.owner == UFID_OWNER:
            sheet.add("MUSICBRAINZ_TRACKID", [frame.data.decode("ascii", "replace")])
        case "RVA2" if frame.desc.lower() in _GAINS:
            name = _GAINS[frame.desc.lower()]
            sheet.add(f"{name}_GAIN", [f"{frame.gain:.2f} dB"])
            sheet.add(f"{name}_PEAK", [f"{frame.peak:.6f}"] if frame.peak else [])
        case "APIC":
            if frame.mime != "-->":  # a link to a picture, which nobody here follows
                sheet.pictures.append(Picture(data=frame.data, kind=int(frame.type)))
        case kind if kind.startswith("W") and hasattr(frame, "url"):
            sheet.add(_URL_FRAMES.get(kind, kind), [frame.url])
        case kind if kind not in _SKIPPED:
            _read_binary(sheet, kind, content=_content(frame))


def _read_person(sheet: TagSheet, *, role: str, name: str) -> None:
    """Add someone who took part: under the role where it has a name of its own, else as ``name (role)``."""
    if role in _ROLES:
        sheet.add(_ROLES[role], [name])
    elif name:
        sheet.add("PERFORMER", [f"{name} ({role})" if role not in ("", NO_ROLE) else name])


def _as_lrc(frame: Any, *, text: Any) -> str:  # noqa: ANN401 - as above
    """Return lyrics with times in ms as lines of an LRC file; without times where they count frames."""
    lines = []
    for words, at in frame.text:
        stamp = f"[{at // 60000:02}:{at // 1000 % 60:02}.{at // 10 % 100:02}]" if frame.format == 2 else ""
        lines.append(stamp + text(words).strip("\n"))
    return "\n".join(lines)


def _read_unknown(sheet: TagSheet, frame: bytes, *, wide: bool) -> None:
    """Read a frame that mutagen does not know: as text where its name begins so and its content is text."""
    if not wide:
        return  # of ID3v2.2: three letters, in files older than any program that would ask for it
    kind, content = frame[:4].decode("ascii", "replace"), frame[_HEADER_BYTES:]
    plain = not any(frame[_FLAGS])
    if plain and kind[0] in "TX" and content[:1] in (b"\0", b"\1", b"\2", b"\3"):
        codec = ("latin-1", "utf-16", "utf-16-be", "utf-8")[content[0]]
        sheet.add(_TEXT_FRAMES.get(kind, kind), content[1:].decode(codec, "replace").rstrip("\0").split("\0"))
    else:
        _read_binary(sheet, kind, content=content)


def _read_binary(sheet: TagSheet, kind: str, *, content: bytes) -> None:
    if len(content) > _MAX_BINARY_BYTES:
        sheet.warn(f"a frame {kind} of {len(content)} bytes without text is not kept")
    elif content:
        sheet.add(f"{BINARY}{kind}", [b64encode(content).decode("ascii")])


def _content(frame: id3.Frame) -> bytes:
    """Return what a frame holds, as ID3v2.4 writes it."""
    return bytes(frame._writeData())  # the only way mutagen has; a whole tag would be written to cut it out of


def split_joined(sheet: TagSheet) -> None:
    """Take apart what ID3v2.3, which knows no several values, has in one text; a date is its longest form."""
    for name in ("DATE", "ORIGINALDATE"):
        if name in sheet.fields:
            values = sheet.fields[name]
            sheet.fields[name] = [
                one for one in values if not any(other != one and other.startswith(one) for other in values)
            ]
    for name, values in sheet.fields.items():
        if name in _JOINED_IN_V23 or name.startswith("MUSICBRAINZ_"):
            parts = [part for value in values for part in re.split(r";\s|/" if "_" in name else r";\s", value)]
            sheet.fields[name] = list(dict.fromkeys(filter(None, map(str.strip, parts)))) or values
