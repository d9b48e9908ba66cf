"""Reads the tags and the front cover of a song in any supported container.

What each field means is said here; what a container calls it, in `tag_formats/`. Reading never refuses a song:
whatever goes wrong becomes a warning, and what was read until then stays. Delivered files are tagged in `embed`.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ironclad_assets.audio.artwork import UnusablePicture, make_cover
from ironclad_assets.audio.tag_formats.containers import read_sheet
from ironclad_assets.audio.tag_formats.sheet import FRONT_COVER, Cover, Picture, TagSheet, clean_text

COVER = "cover.jpg"

_MAX_NUMBER = 9999
_ARTIST_JOINER = "; "
_TEXTS = {
    "TITLE": "title", "ARTIST": "artist", "ALBUM": "album", "ALBUMARTIST": "album_artist", "DATE": "date",
    "COMPOSER": "composer", "COMMENT": "comment", "LYRICS": "lyrics",
}  # fmt: skip
_NUMBERS = {
    "TRACKNUMBER": "track_number", "TRACKTOTAL": "track_total", "DISCNUMBER": "disc_number", "DISCTOTAL": "disc_total",
}  # fmt: skip

Report = Callable[[float, str], None]


def read_tags(report: Report, *, path: str, media_type: str, work: str) -> dict[str, Any]:
    """Return the fields of `SongMetadata` that the file fills, and write its front cover into the work folder.

    Args:
        report: takes progress.
        path: the audio file; its name need not say what it is.
        media_type: what it was found to be, for files without a signature.
        work: folder for ``cover.jpg``.

    Returns:
        Field names and values; `fields` (every other tag), `warnings`, and `artwork` as
        ``{"path", "width_px", "height_px"}`` or None.
    """
    report(0.0, "reading tags")
    try:
        sheet = read_sheet(Path(path), media_type=media_type)
    except Exception as error:  # noqa: BLE001 - mutagen raises what it likes; a playable song never fails by its tags
        sheet = TagSheet(warnings=[f"the tags cannot be read ({type(error).__name__}: {error})"])
    found = _describe(sheet)
    report(0.5, "looking at the cover")
    cover, problems = _choose_cover(sheet.pictures)
    found["artwork"] = None
    if cover is not None:
        (Path(work) / COVER).write_bytes(cover.data)
        found["artwork"] = {"path": COVER, "width_px": cover.width_px, "height_px": cover.height_px}
    found["warnings"] = [clean_text(text)[0][:300] for text in (*sheet.warnings, *problems)]
    return found


def _describe(sheet: TagSheet) -> dict[str, Any]:
    """Return the sheet under the names of `SongMetadata`; what has no name there goes to `fields`."""
    fields = dict(sheet.fields)
    found: dict[str, Any] = {}
    for name, attribute in _TEXTS.items():
        if name in fields:
            values = fields.pop(name)
            if name == "ARTIST" and len(values) > 1:
                fields.setdefault("ARTISTS", values)
            found[attribute] = _joined(values, joiner=_ARTIST_JOINER if "ARTIST" in name else "\n")
    for name, attribute in _NUMBERS.items():
        if name in fields and (number := _number(fields[name][0])) is not None:
            del fields[name]
            found[attribute] = number
    found["artists"] = fields.pop("ARTISTS", [found["artist"]] if "artist" in found else [])
    found["genres"] = fields.pop("GENRE", [])
    compilation = fields.pop("COMPILATION", ["0"])[0].casefold()
    found["compilation"] = compilation in ("1", "true", "yes")
    found["fields"] = fields
    return {name: value for name, value in found.items() if value not in ([], False)} | {"fields": fields}


def _joined(values: list[str], *, joiner: str) -> str:
    return clean_text(joiner.join(values))[0]


def _number(text: str) -> int | None:
    """Return the number of ``07``; None for ``A1`` and for numbers no album has."""
    match = re.fullmatch(r"\s*([0-9]{1,6})\s*", text, flags=re.ASCII)
    return int(match[1]) if match and int(match[1]) <= _MAX_NUMBER else None


def _choose_cover(pictures: list[Picture]) -> tuple[Cover | None, list[str]]:
    """Return the first usable picture, front covers before others, and why better ones were dropped."""
    problems: list[str] = []
    for picture in _best_first(pictures):
        try:
            return make_cover(picture.data), problems
        except UnusablePicture as error:
            problems.append(f"a cover was dropped: {error}")
    return None, problems


def _best_first(pictures: list[Picture]) -> Iterator[Picture]:
    yield from sorted(pictures, key=lambda picture: picture.kind != FRONT_COVER)[:8]
