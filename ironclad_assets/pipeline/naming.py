"""Where a delivered file belongs in the media library: pure path rules, no disk.

Rules agree with Picard's `util/filenaming.py` and beets' `replace`, and keep clear of what Jellyfin reads into
folder names. Whatever the tags and the template say, the result is a legal, relative path below an artist's and an
album's folder; what a template may say is `pipeline/templates.py`'s, what happens when two songs want the same path
`pipeline/organise.py`'s.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from ironclad_assets.pipeline.templates import DEFAULT, Piece, Template

MAX_COMPONENT_BYTES = 200
"""As beets. Linux allows 255 bytes; the rest is room for temporary names and lyrics beside the song."""

MAX_PATH_UNITS = 240
"""UTF-16 units of a path below the library. Windows allows 259 with drive and folder of the library."""

MAX_FOLDERS_UNITS = 140
"""Of these, what the folders take at most: it depends on the album alone, so that its songs stay together."""

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
# Jellyfin (NamingOptions.ArtistSubfolders) takes a folder of such a name for a shelf of the artist's, not an album.
_SHELF_FOLDER = re.compile(
    r"(?i)albums|broadcasts|bootlegs|compilations|dj-mixes|eps|live|mixtapes|others|remixes|singles|soundtracks"
    r"|spokenwords|streets"
)
_LABEL = re.compile(r"(.*\S)( \([A-Za-z0-9 +_-]{1,64}\))", flags=re.DOTALL)
_YEAR = re.compile(r"\s*([12][0-9]{3})(?![0-9])")


@dataclass(frozen=True, slots=True)
class TrackName:
    """What a path is made from: the tags of one delivered file, as they are written into it.

    `title` and `album` end with a label in brackets that they do not lose when a long name is cut; `label` is the
    title's alone, empty for an original. `date` begins with the year.
    """

    album_artist: str
    album: str
    title: str
    artist: str
    extension: str
    track_number: int | None = None
    disc_number: int | None = None
    disc_total: int | None = None
    date: str | None = None
    label: str = ""


@dataclass(frozen=True, slots=True)
class _Text:
    """A part of a name. Only `free` ones are cut when a name is too long, to no less than their `fallback`."""

    text: str
    free: bool = False
    fallback: str = ""


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
    return _join([_Text(prefix), _free(text, fallback=fallback), _Text(tail)], units=MAX_PATH_UNITS)


def folder_component(text: str, *, fallback: str) -> str:
    """Return the folder's name for an artist or an album called `text`, keeping its bracketed label when cut."""
    return _guard_folder(_join(_labelled(text, fallback=fallback), units=MAX_PATH_UNITS), first=True)


def track_path(name: TrackName, *, copy: int = 1, template: Template = DEFAULT.output) -> str:
    """Return the path of a delivered file below its library root: ``<Album artist>/<Album>/NN - <Title>.ext``.

    Args:
        name: the file's tags.
        copy: 1 for the path itself; 2 and up for ``... (2).ext`` where another song has the path.
        template: how paths look in that root.
    """
    values = _values(name)
    year = "".join(text.text for text in values["year"])
    folders = _folders(template, album_artist=name.album_artist, album=name.album, year=year)
    left = MAX_PATH_UNITS - _units("/".join(folders)) - 1
    tail = [_Text(f" ({copy})")] if copy > 1 else []
    *stem, dot, extension = template.file
    texts = [*_fill(stem, values=values), *tail, *_fill([dot, extension], values=values)]
    return "/".join([*folders, _join(texts, units=left)])


@lru_cache(maxsize=4096)
def _folders(template: Template, *, album_artist: str, album: str, year: str) -> tuple[str, ...]:
    """Return the names of the folders, shortened together where they are too long for Windows."""
    values = {
        "album_artist": [_free(album_artist, fallback=UNKNOWN_ARTIST)],
        "album": _labelled(album, fallback=UNTITLED),
        "year": [_Text(year)] if year else [],
    }
    filled = [_fill(pieces, values=values) for pieces in template.folders]

    def join(units: int) -> tuple[str, ...]:
        names = [_join(texts, units=units) for texts in filled]
        return tuple(_guard_folder(name, first=at == 0) for at, name in enumerate(names))

    if _units("/".join(names := join(MAX_FOLDERS_UNITS))) <= MAX_FOLDERS_UNITS:
        return names
    low, high = 1, MAX_FOLDERS_UNITS
    while low < high:
        middle = (low + high + 1) // 2
        if _units("/".join(join(middle))) <= MAX_FOLDERS_UNITS:
            low = middle
        else:
            high = middle - 1
    return join(low)


def _values(name: TrackName) -> dict[str, list[_Text]]:
    """Return what each placeholder stands for; an empty list for nothing."""
    artist = [_free(name.artist, fallback=UNKNOWN_ARTIST)]
    several = (name.disc_number or 0) > 1 or (name.disc_number == 1 and (name.disc_total or 0) > 1)
    year = _YEAR.match(name.date or "")
    return {
        "album_artist": [_free(name.album_artist, fallback=UNKNOWN_ARTIST)],
        "album": _labelled(name.album, fallback=UNTITLED),
        "year": [_Text(year[1])] if year else [],
        "title": _labelled(name.title, fallback=UNTITLED),
        "artist": artist,
        "compilation_artist": artist if fold(name.album_artist) == fold(VARIOUS_ARTISTS) else [],
        "track": _number(name.track_number, width=2),
        "disc": _number(name.disc_number, width=1) if several else [],
        "label": [_free(name.label, fallback="")] if name.label else [],
        "ext": [_Text(name.extension)],
    }


def _number(value: int | None, *, width: int) -> list[_Text]:
    return [_Text(f"{value:0{width}d}")] if value is not None and 0 < value <= _MAX_NUMBER else []


def _fill(pieces: list[Piece] | tuple[Piece, ...], *, values: Mapping[str, list[_Text]]) -> list[_Text]:
    """Return the texts of the pieces, without optional ones in which a placeholder stands for nothing."""
    texts: list[_Text] = []
    for piece in pieces:
        if piece.optional:
            complete = all(values[inner.placeholder] for inner in piece.optional if inner.placeholder)
            texts += _fill(piece.optional, values=values) if complete else []
        elif piece.placeholder:
            texts += values[piece.placeholder]
        else:
            texts.append(_Text(piece.literal))
    return texts


def _labelled(text: str, *, fallback: str) -> list[_Text]:
    """Return ``Title (Label)`` as ``Title``, which may be cut, and ``· (Label)``, which is short and kept."""
    match = _LABEL.fullmatch(text)
    if match is None:
        return [_free(text, fallback=fallback)]
    return [_free(match[1], fallback=fallback), _Text(match[2])]


def _free(text: str, *, fallback: str) -> _Text:
    """Return `text` without what no name may hold, or `fallback` where nothing is left of it."""
    cleaned = _INVISIBLE.sub("", unicodedata.normalize("NFC", text))
    cleaned = _strip_edges(_FORBIDDEN.sub("_", cleaned))
    return _Text(cleaned or fallback, free=True, fallback=fallback)


def _join(texts: list[_Text], *, units: int) -> str:
    """Return the texts as one legal component, its free parts cut to an equal length where it is too long."""

    def fits(whole: str) -> bool:
        # One byte for the underscore of a reserved name.
        return len(whole.encode()) < MAX_COMPONENT_BYTES and _units(whole) < units

    whole = "".join(one.text for one in texts)
    if not fits(whole):
        whole = _cut(texts, fits=fits)
    whole = whole.strip().rstrip(". ") or UNTITLED
    if whole[0] in ".-":
        whole = "_" + whole[1:]
    return unicodedata.normalize("NFC", _RESERVED.sub(r"\g<0>_", whole))


def _cut(texts: list[_Text], *, fits: Callable[[str], bool]) -> str:
    """Return the texts joined, with the longest free ones cut at a character until the whole fits."""

    def joined(most: int) -> str:
        return "".join(_shorten(one, most=most).text if one.free else one.text for one in texts)

    low, high = 1, max(len(one.text.encode()) for one in texts)
    while low < high:
        middle = (low + high + 1) // 2
        if fits(joined(middle)):
            low = middle
        else:
            high = middle - 1
    return joined(low)


def _shorten(one: _Text, *, most: int) -> _Text:
    """Return a free text of at most `most` bytes, or its fallback where nothing is left of it."""
    cut = _strip_edges(one.text.encode()[:most].decode(errors="ignore"))
    return replace(one, text=cut or one.fallback)


def _guard_folder(name: str, *, first: bool) -> str:
    """Return a folder's name that Jellyfin takes for neither a disc of the folder above nor a shelf of albums."""
    guarded = _DISC_FOLDER.sub(r"\g<1>_", name)
    return f"{guarded}_" if not first and _SHELF_FOLDER.fullmatch(guarded) else guarded


def _units(text: str) -> int:
    """Return the length of a name as Windows counts it."""
    return len(text.encode("utf-16-le")) // 2


def _strip_edges(text: str) -> str:
    """Return `text` without what may not end a name (dots, spaces) and without spaces before it.

    A text of nothing but dots and spaces becomes empty.
    """
    return text.strip().rstrip(". \t").strip()
