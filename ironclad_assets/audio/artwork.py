"""Looks at pictures that uploaders embedded, and makes the one cover that is delivered.

Only JPEG, PNG and WebP are opened, by Pillow's decoders for these three, and only when the header's size is sane.
The result is always a fresh JPEG, so nothing of the original's bytes (scripts, profiles, places) is passed on.
"""

import io

from PIL import Image, ImageOps

from ironclad_assets.audio.tag_formats.sheet import Cover

MAX_PICTURE_BYTES = 24 * 1024 * 1024
"""A scan of 3000 x 3000 pixels as PNG has up to this much."""

MAX_IMAGE_PIXELS = 40_000_000
"""Size above which a picture is refused before it is decoded: 160 MB of RGBA."""

MAX_SCANS = 64
"""Passes of a progressive JPEG, each of which costs as much as decoding it; encoders make about ten."""

COVER_PIXELS = 1000
JPEG_QUALITY = 90

_JPEG, _PNG, _WEBP = "JPEG", "PNG", "WEBP"
_SCAN = b"\xff\xda"


class UnusablePicture(Exception):  # noqa: N818 - it says what it is
    """The picture is dropped, with the reason as its text; the song goes on without it."""


def make_cover(data: bytes) -> Cover:
    """Return the cover made from the picture `data`; equal bytes give equal bytes.

    Raises:
        UnusablePicture: too large, not JPEG, PNG or WebP, or damaged.
    """
    if len(data) > MAX_PICTURE_BYTES:
        raise UnusablePicture(f"the picture has {len(data)} bytes, above {MAX_PICTURE_BYTES}")
    kind = _kind_of(data)
    if kind is None:
        raise UnusablePicture("the picture is neither JPEG nor PNG nor WebP")
    _check_header(data, kind=kind)
    try:
        return _render(data, kind=kind)
    except UnusablePicture:
        raise
    except Exception as error:
        # Pillow raises OSError, SyntaxError, ValueError, struct.error and more on damaged pictures.
        raise UnusablePicture(f"the {kind} picture cannot be decoded: {error}") from error


def _render(data: bytes, *, kind: str) -> Cover:
    with Image.open(io.BytesIO(data), formats=[kind]) as picture:
        _check_size(*picture.size)
        picture.draft("RGB", (COVER_PIXELS, COVER_PIXELS))
        small = _in_full_colour(ImageOps.exif_transpose(picture))
    small.thumbnail((COVER_PIXELS, COVER_PIXELS), Image.Resampling.LANCZOS)
    flat = _flatten(small)
    output = io.BytesIO()
    flat.save(output, "JPEG", quality=JPEG_QUALITY)
    return Cover(data=output.getvalue(), width_px=flat.width, height_px=flat.height)


def _kind_of(data: bytes) -> str | None:
    """Return what the picture is by its first bytes; what a tag says about it is not asked."""
    if data.startswith(b"\xff\xd8\xff"):
        return _JPEG
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _PNG
    return _WEBP if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def _check_header(data: bytes, *, kind: str) -> None:
    """Refuse what would cost too much before a decoder sees it.

    A WebP's decoder makes room for the whole canvas when it is opened; libjpeg goes through every scan there is.
    """
    if kind == _WEBP:
        _check_size(*_webp_size(data))
    if kind == _JPEG and data.count(_SCAN) > MAX_SCANS:
        raise UnusablePicture(f"the JPEG picture has more than {MAX_SCANS} scans")


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_IMAGE_PIXELS:
        raise UnusablePicture(f"the picture has {width} x {height} pixels, above {MAX_IMAGE_PIXELS}")


def _webp_size(data: bytes) -> tuple[int, int]:
    """Return the canvas that the first chunk of a WebP asks for (RFC 9649, section 2); none where it has no room."""
    name, head = data[12:16], data[20:30].ljust(10, b"\0")
    if name == b"VP8X":
        return 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
    if name == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF


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
