"""Reads the tags and the front cover of a song in any supported container.

What each field means is said here; what a container calls it, in `tag_formats/`. Reading never refuses a song:
whatever goes wrong becomes a warning, and what was read until then stays. Delivered files are tagged in `embed`.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from mutagen.id3 import TCON

from ironclad_assets.audio.artwork import UnusablePicture, make_cover
from ironclad_assets.audio.tag_formats.budget import BudgetSpent, cpu_budget
from ironclad_assets.audio.tag_formats.containers import read_sheet
from ironclad_assets.audio.tag_formats.sheet import FRONT_COVER, Cover, Picture, TagSheet
from ironclad_assets.audio.tag_formats.text import MAX_LYRICS_BYTES, clean_line, clean_text

COVER = "cover.jpg"

TAGS_CPU_S, COVER_CPU_S = 3.0, 8.0
"""Processor time for tags and for pictures, together less than the child's limit; sane files need a tenth of one."""

_MAX_NUMBER = 9999
_MAX_WARNINGS = 50
_JOINER = "; "
_LINES = {
    "TITLE": "title", "ARTIST": "artist", "ALBUM": "album", "ALBUMARTIST": "album_artist", "DATE": "date",
    "COMPOSER": "composer",
}  # fmt: skip
"""What players show in one line."""

_APART = {"ARTIST": "ARTISTS", "ALBUMARTIST": "ALBUMARTISTS", "COMPOSER": "COMPOSER"}
"""Where several values stay apart that are joined for people."""

_TEXTS = {"COMMENT": "comment", "LYRICS": "lyrics"}
_NUMBERS = {
    "TRACKNUMBER": "track_number", "TRACKTOTAL": "track_total", "DISCNUMBER": "disc_number", "DISCTOTAL": "disc_total",
}  # fmt: skip
_GENRE_NUMBER = re.compile(r"\(?([0-9]{1,3})\)?", flags=re.ASCII)
_YES = ("1", "true", "yes")

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
    sheet = _read_sheet(Path(path), media_type=media_type)
    found = _describe(sheet)
    report(0.5, "looking at the cover")
    cover, problems = _choose_cover(sheet.pictures)
    found["artwork"] = None
    if cover is not None:
        (Path(work) / COVER).write_bytes(cover.data)
        found["artwork"] = {"path": COVER, "width_px": cover.width_px, "height_px": cover.height_px}
    found["warnings"] = [clean_line(clean_text(text)[0])[:300] for text in (*sheet.warnings, *problems)][:_MAX_WARNINGS]
    return found


def _read_sheet(path: Path, *, media_type: str) -> TagSheet:
    try:
        with cpu_budget(TAGS_CPU_S, purpose="reading the tags"):
            return read_sheet(path, media_type=media_type)
    except BudgetSpent as spent:
        return TagSheet(warnings=[str(spent)])
    except Exception as error:  # noqa: BLE001 - mutagen raises what it likes; a playable song never fails by its tags
        return TagSheet(warnings=[f"the tags cannot be read ({type(error).__name__}: {error})"])


def _describe(sheet: TagSheet) -> dict[str, Any]:
    """Return the sheet under the names of `SongMetadata`; what has no name there goes to `fields`."""
    fields = dict(sheet.fields)
    found: dict[str, Any] = {}
    for name, attribute in _LINES.items():
        values = _on_one_line(fields.pop(name, []))
        if len(values) > 1 and name in _APART:
            fields.setdefault(_APART[name], values)
        if values:
            found[attribute] = clean_text(values[0] if name == "DATE" else _JOINER.join(values))[0]
    for name, attribute in _TEXTS.items():
        if name in fields:
            found[attribute] = clean_text("\n".join(fields.pop(name)), most_bytes=MAX_LYRICS_BYTES)[0]
    for name, attribute in _NUMBERS.items():
        if name in fields and (number := _number(fields[name][0])) is not None:
            del fields[name]
            found[attribute] = number
    found["artists"] = _on_one_line(fields.pop("ARTISTS", [])) or ([found["artist"]] if "artist" in found else [])
    found["genres"] = _on_one_line(map(_name_genre, fields.pop("GENRE", [])))
    found["compilation"] = fields.pop("COMPILATION", ["0"])[0].casefold() in _YES
    return {name: value for name, value in found.items() if value not in ([], False)} | {"fields": fields}


def _on_one_line(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, map(clean_line, values))))


def _name_genre(genre: str) -> str:
    """Return the name of a genre that is written as its number in ID3v1, as some programs leave it in any container."""
    match = _GENRE_NUMBER.fullmatch(genre)
    return str(TCON.GENRES[int(match[1])]) if match and int(match[1]) < len(TCON.GENRES) else genre


def _number(text: str) -> int | None:
    """Return the number of ``07``; None for ``A1`` and for numbers no album has."""
    match = re.fullmatch(r"\s*([0-9]{1,6})\s*", text, flags=re.ASCII)
    return int(match[1]) if match and int(match[1]) <= _MAX_NUMBER else None


def _choose_cover(pictures: list[Picture]) -> tuple[Cover | None, list[str]]:
    """Return the first usable picture, front covers before others, and why better ones were dropped."""
    problems: list[str] = []
    try:
        with cpu_budget(COVER_CPU_S, purpose="looking at the pictures"):
            for picture in _best_first(pictures):
                try:
                    return make_cover(picture.data), problems
                except UnusablePicture as error:
                    problems.append(f"a cover was dropped: {error}")
    except BudgetSpent as error:
        problems.append(f"a cover was dropped: {error}")
    return None, problems


def _best_first(pictures: list[Picture]) -> Iterator[Picture]:
    yield from sorted(pictures, key=lambda picture: picture.kind != FRONT_COVER)[:8]
