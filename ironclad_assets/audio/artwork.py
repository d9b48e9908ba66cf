"""Looks at pictures that uploaders embedded, and makes the one cover that is delivered.

Only JPEG and PNG are opened, by Pillow's decoders for these two, and only when the header's size is sane. The
result is always a fresh JPEG, so nothing of the original's bytes (scripts, profiles, places) is passed on.
"""

import io

from PIL import Image, ImageOps

from ironclad_assets.audio.tag_formats.sheet import Cover

MAX_PICTURE_BYTES = 10 * 1024 * 1024
MAX_IMAGE_PIXELS = 40_000_000
"""Size above which a picture is refused before it is decoded: 160 MB of RGBA."""

COVER_PIXELS = 1000
JPEG_QUALITY = 90

_SIGNATURES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG"}


class UnusablePicture(Exception):  # noqa: N818 - it says what it is
    """The picture is dropped, with the reason as its text; the song goes on without it."""


def make_cover(data: bytes) -> Cover:
    """Return the cover made from the picture `data`; equal bytes give equal bytes.

    Raises:
        UnusablePicture: too large, not JPEG or PNG, or damaged.
    """
    if len(data) > MAX_PICTURE_BYTES:
        raise UnusablePicture(f"the picture has {len(data)} bytes, above {MAX_PICTURE_BYTES}")
    kind = next((kind for start, kind in _SIGNATURES.items() if data.startswith(start)), None)
    if kind is None:
        raise UnusablePicture("the picture is neither JPEG nor PNG")
    try:
        return _render(data, kind=kind)
    except UnusablePicture:
        raise
    except Exception as error:
        # Pillow raises OSError, SyntaxError, ValueError, struct.error and more on damaged pictures.
        raise UnusablePicture(f"the {kind} picture cannot be decoded: {error}") from error


def _render(data: bytes, *, kind: str) -> Cover:
    with Image.open(io.BytesIO(data), formats=[kind]) as picture:
        width, height = picture.size
        if width * height > MAX_IMAGE_PIXELS:
            raise UnusablePicture(f"the picture has {width} x {height} pixels, above {MAX_IMAGE_PIXELS}")
        picture.draft("RGB", (COVER_PIXELS, COVER_PIXELS))
        small = _in_full_colour(ImageOps.exif_transpose(picture))
    small.thumbnail((COVER_PIXELS, COVER_PIXELS), Image.Resampling.LANCZOS)
    flat = _flatten(small)
    output = io.BytesIO()
    flat.save(output, "JPEG", quality=JPEG_QUALITY)
    return Cover(data=output.getvalue(), width_px=flat.width, height_px=flat.height)


def _in_full_colour(picture: Image.Image) -> Image.Image:
    """Return the picture as RGB, or as RGBA where parts may be transparent."""
    transparent = "A" in picture.getbands() or "transparency" in picture.info
    wanted = "RGBA" if transparent else "RGB"
    return picture if picture.mode == wanted else picture.convert(wanted)


def _flatten(picture: Image.Image) -> Image.Image:
    """Return the picture as RGB, what is transparent as white."""
    if picture.mode != "RGBA":
        return picture
    opaque = Image.new("RGB", picture.size, "white")
    opaque.paste(picture, mask=picture.getchannel("A"))
    return opaque
