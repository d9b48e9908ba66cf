"""Writes tags and cover into a delivered file, and reads them back to prove it.

FLAC gets Vorbis comments and a PICTURE block, Opus the same with the picture as a comment, MP3 an ID3v2 tag, WAV
an ``id3 `` chunk, AAC the atoms of MP4. Which tags a delivered file gets is decided in the pipeline.
"""

from base64 import b64encode
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import cast

from mutagen.flac import FLAC
from mutagen.id3 import ID3
from mutagen.mp4 import MP4, MP4Tags
from mutagen.oggopus import OggOpus, OggOpusVComment
from mutagen.wave import WAVE

from ironclad_assets.audio.tag_formats.chunks import silence_info
from ironclad_assets.audio.tag_formats.containers import read_sheet
from ironclad_assets.audio.tag_formats.id3_frames import Id3Version, as_v23, fill_id3, save_options
from ironclad_assets.audio.tag_formats.mp4 import fill_mp4
from ironclad_assets.audio.tag_formats.rf64 import is_rf64, replace_rf64_id3
from ironclad_assets.audio.tag_formats.sheet import Cover, TagSheet
from ironclad_assets.audio.tag_formats.vorbis import PICTURE_FIELD, flac_picture

_PADDING_BYTES = 4096
_NO_ID3V1 = 0


def make_sheet(tags: Mapping[str, tuple[str, ...]]) -> TagSheet:
    """Return the sheet of a delivered file's tags, given by Vorbis comment name."""
    sheet = TagSheet()
    for name, values in tags.items():
        sheet.add(name, values)
    return sheet


def write_tags(path: Path, *, sheet: TagSheet, cover: Cover | None, id3_version: Id3Version = "2.4") -> None:
    """Replace the tags of a delivered file; equal files and tags give equal bytes.

    Args:
        path: an encoded file whose extension says its format.
        sheet: the tags.
        cover: the front cover to embed.
        id3_version: of the tag in MP3 and WAV.

    Raises:
        MutagenError: the container cannot take tags.
    """
    if path.suffix in _ID3_WRITERS:
        _ID3_WRITERS[path.suffix](path, sheet, cover, id3_version)
    else:
        _WRITERS[path.suffix](path, sheet, cover)


def holds_tags(
    path: Path, *, sheet: TagSheet, cover: Cover | None, id3_version: Id3Version = "2.4"
) -> tuple[bool, bool]:
    """Return whether all tags and the cover that `write_tags` was to write are in the file, read anew."""
    written = read_back(path)
    expected = as_v23(sheet) if path.suffix in _ID3_WRITERS and id3_version == "2.3" else sheet
    has_cover = cover is not None and [picture.data for picture in written.pictures] == [cover.data]
    return written.fields == expected.fields, has_cover


def read_back(path: Path) -> TagSheet:
    """Return what is in a file that `write_tags` wrote."""
    return read_sheet(path, media_type="audio/mpeg" if path.suffix == ".mp3" else "")


def _write_flac(path: Path, sheet: TagSheet, cover: Cover | None) -> None:
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


def _write_mp3(path: Path, sheet: TagSheet, cover: Cover | None, version: Id3Version) -> None:
    id3 = ID3()
    fill_id3(id3, sheet=sheet, cover=_data(cover), version=version)
    id3.save(path, v1=_NO_ID3V1, padding=_padding, **save_options(version))


def _write_wav(path: Path, sheet: TagSheet, cover: Cover | None, version: Id3Version) -> None:
    silence_info(path)
    if is_rf64(path):
        id3 = ID3()
        fill_id3(id3, sheet=sheet, cover=_data(cover), version=version)
        content = BytesIO()
        id3.save(content, v1=_NO_ID3V1, padding=_padding, **save_options(version))
        replace_rf64_id3(path, content.getvalue())
        return
    wave = WAVE(path)
    if wave.tags is None:
        wave.add_tags()  # makes them an ID3, which its annotation does not say
    fill_id3(cast(ID3, wave.tags), sheet=sheet, cover=_data(cover), version=version)
    wave.save(padding=_padding, **save_options(version))


def _write_mp4(path: Path, sheet: TagSheet, cover: Cover | None) -> None:
    mp4 = MP4(path)
    if mp4.tags is None:
        mp4.add_tags()
    fill_mp4(cast(MP4Tags, mp4.tags), sheet=sheet, cover=_data(cover))
    mp4.save(padding=_padding)


def _write_opus(path: Path, sheet: TagSheet, cover: Cover | None) -> None:
    opus = OggOpus(path)
    tags = cast(OggOpusVComment, opus.tags)
    tags.clear()
    for name, kept in sheet.fields.items():
        tags[name] = kept
    if cover:
        block = flac_picture(cover.data, width_px=cover.width_px, height_px=cover.height_px)
        tags[PICTURE_FIELD] = [b64encode(block.write()).decode("ascii")]
    opus.save(padding=_padding)


_WRITERS: dict[str, Callable[[Path, TagSheet, Cover | None], None]] = {
    ".flac": _write_flac,
    ".m4a": _write_mp4,
    ".mp4": _write_mp4,
    ".opus": _write_opus,
}
_ID3_WRITERS: dict[str, Callable[[Path, TagSheet, Cover | None, Id3Version], None]] = {
    ".mp3": _write_mp3,
    ".wav": _write_wav,
}


def _data(cover: Cover | None) -> bytes | None:
    return cover.data if cover else None


def _padding(_info: object) -> int:
    return _PADDING_BYTES
