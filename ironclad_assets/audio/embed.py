"""Writes tags and cover into a delivered file, and reads them back to prove it.

FLAC gets Vorbis comments and a PICTURE block, MP3 an ID3v2.4 tag, WAV an ``id3 `` chunk. Which tags a delivered
file gets is decided in the pipeline.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from mutagen.flac import FLAC
from mutagen.id3 import ID3
from mutagen.wave import WAVE

from ironclad_assets.audio.tag_formats.containers import read_sheet
from ironclad_assets.audio.tag_formats.id3 import fill_id3
from ironclad_assets.audio.tag_formats.sheet import Cover, TagSheet
from ironclad_assets.audio.tag_formats.vorbis import flac_picture

_MAX_FIELDS = 200
"""A song's own fields, and those that this project adds."""

_PADDING_BYTES = 4096


def make_sheet(tags: Mapping[str, tuple[str, ...]]) -> TagSheet:
    """Return the sheet of a delivered file's tags, given by Vorbis comment name."""
    sheet = TagSheet(max_fields=_MAX_FIELDS)
    for name, values in tags.items():
        sheet.add(name, values)
    return sheet


def write_tags(path: Path, *, sheet: TagSheet, cover: Cover | None) -> None:
    """Replace the tags of a FLAC, MP3 or WAV file; equal files and tags give equal bytes.

    Args:
        path: an encoded file whose extension says its format.
        sheet: the tags.
        cover: the front cover to embed.

    Raises:
        MutagenError: the container cannot take tags, for example RF64.
    """
    data = cover.data if cover else None
    if path.suffix == ".flac":
        flac = FLAC(path)
        if flac.tags is None:
            flac.add_tags()
        for name in list(flac.keys()):
            del flac[name]
        flac.clear_pictures()
        for name, kept in sheet.fields.items():
            flac[name] = kept
        if cover:
            flac.add_picture(flac_picture(cover.data, width_px=cover.width_px, height_px=cover.height_px))
        flac.save(padding=_padding)
    elif path.suffix == ".mp3":
        id3 = ID3()
        fill_id3(id3, sheet=sheet, cover=data)
        id3.save(path, v1=0, v2_version=4, padding=_padding)
    else:
        wave = WAVE(path)
        if wave.tags is None:
            wave.add_tags()  # makes them an ID3, which its annotation does not say
        fill_id3(cast(ID3, wave.tags), sheet=sheet, cover=data)
        wave.save(v2_version=4, padding=_padding)


def read_back(path: Path) -> TagSheet:
    """Return what is in a file that `write_tags` wrote."""
    return read_sheet(path, media_type="audio/mpeg" if path.suffix == ".mp3" else "")


def _padding(_info: object) -> int:
    return _PADDING_BYTES
