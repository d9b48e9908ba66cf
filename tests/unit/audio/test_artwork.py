"""Covers: only what Pillow decodes as JPEG or PNG is delivered, small, and never a bomb."""

import io
import struct
import zlib

import pytest
from PIL import Image, ImageFile

from ironclad_assets.audio.artwork import COVER_PIXELS, MAX_PICTURE_BYTES, UnusablePicture, make_cover


def picture(size: tuple[int, int] = (64, 48), *, mode: str = "RGB", kind: str = "PNG", **options: object) -> bytes:
    image = Image.radial_gradient("L").resize(size).convert(mode)
    output = io.BytesIO()
    image.save(output, kind, **options)
    return output.getvalue()


def bomb(width: int, height: int) -> bytes:
    """Return a small PNG that claims to be very large, and is, once it is decompressed."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (height * (1 + width // 8)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"])
def test_every_kind_of_png_becomes_an_rgb_jpeg(mode: str) -> None:
    cover = make_cover(picture(mode=mode))
    with Image.open(io.BytesIO(cover.data)) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 48))
    assert (cover.width_px, cover.height_px) == (64, 48)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_every_kind_of_jpeg_becomes_an_rgb_jpeg(mode: str) -> None:
    with Image.open(io.BytesIO(make_cover(picture(mode=mode, kind="JPEG")).data)) as image:
        assert image.mode == "RGB"


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 80}, {"exif": b"Exif\0\0"}])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_webp_which_servers_do_not_show_becomes_an_rgb_jpeg(mode: str, options: dict[str, object]) -> None:
    """META-001"""
    cover = make_cover(picture(mode=mode, kind="WEBP", **options))
    with Image.open(io.BytesIO(cover.data)) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 48))


def test_large_pictures_are_made_to_fit_and_small_ones_are_not_blown_up() -> None:
    assert make_cover(picture((3000, 1500))).width_px == COVER_PIXELS
    assert make_cover(picture((3000, 1500))).height_px == COVER_PIXELS // 2
    assert make_cover(picture((20, 20))).width_px == 20


def test_equal_pictures_give_equal_bytes() -> None:
    assert make_cover(picture((1500, 1500))) == make_cover(picture((1500, 1500)))


def test_transparent_parts_become_white() -> None:
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    output = io.BytesIO()
    image.save(output, "PNG")
    with Image.open(io.BytesIO(make_cover(output.getvalue()).data)) as cover:
        assert cover.getpixel((4, 4)) == (255, 255, 255)


def test_what_a_camera_adds_is_applied_and_not_passed_on() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    exif[0x010F] = "maker"
    cover = make_cover(picture((64, 48), kind="JPEG", exif=exif))
    assert (cover.width_px, cover.height_px) == (48, 64)
    with Image.open(io.BytesIO(cover.data)) as image:
        assert not image.getexif()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "neither JPEG nor PNG nor WebP"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "neither JPEG nor PNG nor WebP"),
        (b"<!doctype html><script>", "neither JPEG nor PNG nor WebP"),
        (picture(kind="GIF"), "neither JPEG nor PNG nor WebP"),
        (picture(kind="WEBP")[:60], "cannot be decoded"),
        (b"RIFF\xff\xff\xff\xffWEBP", "cannot be decoded"),
        (b"\xff\xd8\xff" + b"\xff\xda" * 65, "scans"),
        (picture(kind="BMP"), "neither JPEG nor PNG nor WebP"),
        (b"\xff\xd8\xff" + b"\0" * 100, "cannot be decoded"),
        (picture()[:100], "cannot be decoded"),
        (picture((256, 256), kind="JPEG")[:2000], "cannot be decoded"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * (MAX_PICTURE_BYTES + 1), "bytes"),
    ],
)
def test_what_is_no_sound_jpeg_or_png_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(UnusablePicture, match=why):
        make_cover(data)


@pytest.mark.parametrize("size", [(30_000, 30_000), (10_000, 8_000)])
def test_a_picture_bomb_is_refused_before_it_is_decoded(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """META-001"""
    data = bomb(*size)
    assert len(data) < 500_000
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _self: pytest.fail("it was decoded"))
    with pytest.raises(UnusablePicture):
        make_cover(data)


@pytest.mark.parametrize(
    "chunk",
    [
        b"VP8X\x0a\0\0\0" + b"\0" * 4 + (15_999).to_bytes(3, "little") * 2,
        b"VP8L\x0a\0\0\0" + b"\x2f" + (15_999 | 15_999 << 14).to_bytes(4, "little") + b"\0" * 5,
        b"VP8 \x0a\0\0\0" + b"\0\0\0\x9d\x01\x2a" + (16_000).to_bytes(2, "little") * 2,
    ],
)
def test_a_webp_bomb_is_refused_before_it_is_opened(chunk: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", lambda *_args, **_kwargs: pytest.fail("it was opened"))
    with pytest.raises(UnusablePicture, match="16000 x 16000"):
        make_cover(b"RIFF\x1e\0\0\0WEBP" + chunk)
