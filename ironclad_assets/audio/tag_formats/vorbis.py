"""Vorbis comments to and from a `TagSheet`: FLAC, Ogg Vorbis, Opus."""

import base64
import binascii
from collections.abc import Iterable

from mutagen.flac import Picture as FlacPicture

from ironclad_assets.audio.tag_formats.sheet import FRONT_COVER, Picture, TagSheet

PICTURE_FIELD = "metadata_block_picture"
_OLD_PICTURE_FIELD = "coverart"


def read_vorbis(tags: Iterable[tuple[str, str]] | None) -> TagSheet:
    """Return the sheet of loaded Vorbis comments, including pictures written as comments."""
    sheet = TagSheet()
    values: dict[str, list[str]] = {}
    for name, value in tags or ():
        values.setdefault(name.lower(), []).append(value)
    for name, texts in values.items():
        if name == PICTURE_FIELD:
            sheet.pictures.extend(_decoded(text) for text in texts)
        elif name == _OLD_PICTURE_FIELD:
            sheet.pictures.extend(Picture(data=_bytes(text), kind=FRONT_COVER) for text in texts)
        elif name in ("tracknumber", "discnumber") and len(texts) == 1:
            sheet.add_numbered(name, total=name.replace("number", "total"), value=texts[0])
        else:
            sheet.add(name, texts)
    whole = [picture for picture in sheet.pictures if picture.data]
    if len(whole) < len(sheet.pictures):
        sheet.warn(f"{len(sheet.pictures) - len(whole)} pictures in comments cannot be decoded")
    sheet.pictures = whole
    return sheet


def read_flac_pictures(blocks: Iterable[FlacPicture]) -> list[Picture]:
    """Return the PICTURE blocks of a FLAC file."""
    return [Picture(data=block.data, kind=int(block.type)) for block in blocks if block.mime != "-->"]


def flac_picture(cover: bytes, *, width_px: int, height_px: int) -> FlacPicture:
    """Return a PICTURE block with the JPEG `cover` as the front cover."""
    picture = FlacPicture()
    picture.type, picture.mime, picture.data = FRONT_COVER, "image/jpeg", cover
    picture.width, picture.height, picture.depth = width_px, height_px, 24
    return picture


def _decoded(text: str) -> Picture:
    try:
        block = FlacPicture(_bytes(text))
    except Exception:  # noqa: BLE001 - mutagen raises what it likes on a damaged block; the picture is then none
        return Picture(data=b"", kind=0)
    return Picture(data=b"" if block.mime == "-->" else block.data, kind=int(block.type))


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=False)
    except (binascii.Error, ValueError):
        return b""
