"""Where a delivered file belongs in the media library: pure path rules, no disk.

Rules agree with Picard's `util/filenaming.py` and beets' `replace`, and keep clear of what Jellyfin reads into
folder names. Whatever the tags say, the result is a legal, relative path of three parts; who owns a path and
what happens when two songs want the same one is decided in `pipeline/organise.py`.
"""

import re
import unicodedata
from dataclasses import dataclass

MAX_COMPONENT_BYTES = 200
"""As beets. Linux allows 255 bytes; the rest is room for temporary names and lyrics beside the song."""

VARIOUS_ARTISTS = "Various Artists"
UNKNOWN_ARTIST = "Unknown Artist"
UNTITLED = "Untitled"

_MAX_NUMBER = 9999
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f]')
# Zero-width and bidirectional controls: they make two names look alike, or one name read as another.
_INVISIBLE = re.compile(r"[\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_RESERVED = re.compile(r"(?i)^(con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])(?= *(?:\.|$))")
# Jellyfin (AlbumParser.IsMultiPart) takes "Vol. 4 (Instrumental)" for disc 4 of the folder above.
_DISC_FOLDER = re.compile(r"(?i)^([-.()\s]*(?:cd|digital media|disc|disk|vol|volume|part|act)[-.()\s]*)(?=[+\d])")


@dataclass(frozen=True, slots=True)
class TrackName:
    """What a path is made from: the tags of one delivered file, as they are written into it.

    `label` is the part in brackets that `title` and `album` must not lose when a long name is cut.
    """

    album_artist: str
    album: str
    title: str
    artist: str
    extension: str
    track_number: int | None = None
    disc_number: int | None = None
    disc_total: int | None = None


def fold(name: str) -> str:
    """Return the form in which two names are the same name on any file system."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def clean_component(text: str, *, fallback: str, prefix: str = "", tail: str = "") -> str:
    """Return `prefix` + `text` + `tail` as one legal path component of at most 200 bytes of UTF-8.

    Args:
        text: anything, for example a tag; only this part is cut.
        fallback: stands in for a text of which nothing is left; must be legal itself.
        prefix: legal beginning that is kept whole, such as a track number.
        tail: legal end that is kept whole, such as an extension.
    """
    cleaned = _INVISIBLE.sub("", unicodedata.normalize("NFC", text))
    cleaned = _strip_edges(_FORBIDDEN.sub("_", cleaned)) or fallback
    room = MAX_COMPONENT_BYTES - len((prefix + tail).encode()) - 1  # one byte for the underscore of a reserved name
    cleaned = _strip_edges(cleaned.encode()[: max(room, 0)].decode(errors="ignore")) or fallback
    whole = prefix + cleaned + tail
    if whole[0] in ".-":
        whole = "_" + whole[1:]
    return unicodedata.normalize("NFC", _RESERVED.sub(r"\g<0>_", whole))


def folder_component(text: str, *, fallback: str) -> str:
    """Return the folder's name for an artist or an album called `text`, keeping its bracketed label when cut."""
    head, label = _split_label(text)
    name = clean_component(head, fallback=fallback, tail=label)
    return _DISC_FOLDER.sub(r"\g<1>_", name)


def track_path(name: TrackName, *, copy: int = 1) -> str:
    """Return the path of a delivered file below its library root: ``<Album artist>/<Album>/NN - <Title>.ext``.

    Args:
        name: the file's tags.
        copy: 1 for the path itself; 2 and up for ``... (2).ext`` where another song has the path.
    """
    artist = folder_component(name.album_artist, fallback=UNKNOWN_ARTIST)
    album = folder_component(name.album, fallback=UNTITLED)
    head, label = _split_label(name.title)
    if fold(name.album_artist) == fold(VARIOUS_ARTISTS):
        head = f"{name.artist} - {head}"
    tail = f"{label} ({copy})" if copy > 1 else label
    file = clean_component(head, fallback=UNTITLED, prefix=_number_prefix(name), tail=f"{tail}.{name.extension}")
    return f"{artist}/{album}/{file}"


def _number_prefix(name: TrackName) -> str:
    """Return ``NN - ``, ``D-NN - `` where the album has several discs, or nothing without a track number."""
    if name.track_number is None or not 0 < name.track_number <= _MAX_NUMBER:
        return ""
    disc = name.disc_number or 0
    several = disc > 1 or (disc == 1 and (name.disc_total or 0) > 1)
    return f"{disc}-{name.track_number:02d} - " if several and disc <= _MAX_NUMBER else f"{name.track_number:02d} - "


def _split_label(text: str) -> tuple[str, str]:
    """Split ``Title (Label)`` into ``Title`` and ``· (Label)``; the label is short and made by us, or is no label."""
    match = re.fullmatch(r"(.*\S)( \([A-Za-z0-9 +_-]{1,64}\))", text, flags=re.DOTALL)
    return (match[1], match[2]) if match else (text, "")


def _strip_edges(text: str) -> str:
    """Return `text` without what may not end a name (dots, spaces) and without spaces before it.

    A text of nothing but dots and spaces becomes empty.
    """
    return text.strip().rstrip(". \t").strip()
