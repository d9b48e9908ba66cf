"""The cover of the synthesised song: drawn, not photographed, the same bytes every time.

A harbour at dusk with paper lanterns. Nothing here is about other covers; see `artwork` for those.
"""

import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE_PX = 800
"""Width and height of the cover in pixels."""

Rgb = tuple[int, int, int]

_SKY: Sequence[Rgb] = ((24, 22, 60), (112, 46, 104), (232, 112, 86), (252, 190, 116))
_WATER: Sequence[Rgb] = ((196, 104, 92), (60, 42, 92), (18, 18, 46))
_HORIZON = 0.62
_LANTERNS = ((0.20, 0.25, 0.050), (0.36, 0.15, 0.036), (0.55, 0.29, 0.062), (0.74, 0.18, 0.042), (0.86, 0.38, 0.052))
"""Centre across, centre down, radius; as shares of the side."""


def draw_cover() -> bytes:
    """Return the cover as JPEG."""
    image = Image.fromarray(_background())
    image = _add_glow(image)
    draw = ImageDraw.Draw(image)
    _draw_hills(draw)
    _draw_waves(draw)
    _draw_lanterns(draw)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=88)
    return stream.getvalue()


def _background() -> np.ndarray:
    horizon = round(_HORIZON * SIDE_PX)
    column = np.vstack([_gradient(_SKY, horizon), _gradient(_WATER, SIDE_PX - horizon)])
    return np.ascontiguousarray(np.broadcast_to(column[:, None, :], (SIDE_PX, SIDE_PX, 3))).astype(np.uint8)


def _gradient(colours: Sequence[Rgb], rows: int) -> np.ndarray:
    position = np.linspace(0, len(colours) - 1, rows)
    stops = np.arange(len(colours))
    return np.stack([np.interp(position, stops, [colour[i] for colour in colours]) for i in range(3)], axis=-1)


def _add_glow(image: Image.Image) -> Image.Image:
    """Return `image` with the sun at the horizon and a halo around each lantern."""
    light = Image.new("RGB", image.size)
    draw = ImageDraw.Draw(light)
    _disc(draw, 0.5, _HORIZON - 0.03, 0.11, (255, 214, 140))
    for x, y, radius in _LANTERNS:
        _disc(draw, x, y, 1.7 * radius, (150, 82, 40))
    light = light.filter(ImageFilter.GaussianBlur(SIDE_PX * 0.022))
    total = np.asarray(image, dtype=np.uint16) + np.asarray(light, dtype=np.uint16)
    return Image.fromarray(np.minimum(total, 255).astype(np.uint8))


def _draw_hills(draw: ImageDraw.ImageDraw) -> None:
    for height, phase, colour in ((0.085, 0.4, (86, 40, 92)), (0.05, 2.1, (52, 28, 70))):
        ridge = [
            (x, (_HORIZON - height * (0.55 + 0.45 * math.sin(x * 0.011 + phase) * math.sin(x * 0.0053))) * SIDE_PX)
            for x in range(0, SIDE_PX + 1, 4)
        ]
        draw.polygon([(0, _HORIZON * SIDE_PX), *ridge, (SIDE_PX, _HORIZON * SIDE_PX)], fill=colour)


def _draw_waves(draw: ImageDraw.ImageDraw) -> None:
    for row in range(9):
        y = (_HORIZON + 0.025 + 0.0045 * row * (row + 3)) * SIDE_PX
        swell = 2.0 + row
        wave = [(x, y + swell * math.sin(x * 0.05 / (1 + 0.25 * row) + 1.7 * row)) for x in range(0, SIDE_PX + 1, 4)]
        draw.line(wave, fill=(238, 152 - 8 * row, 112), width=2 + row // 3)


def _draw_lanterns(draw: ImageDraw.ImageDraw) -> None:
    for x, y, radius in _LANTERNS:
        draw.line([(x * SIDE_PX, 0), (x * SIDE_PX, y * SIDE_PX)], fill=(30, 22, 54), width=2)
        _disc(draw, x, y, radius, (255, 176, 92))
        _disc(draw, x, y, 0.72 * radius, (255, 216, 150))
        for side in (-1, 1):
            cap_y = y + side * radius
            box = [_px(x - 0.4 * radius), _px(cap_y - 0.007), _px(x + 0.4 * radius), _px(cap_y + 0.007)]
            draw.rectangle(box, fill=(92, 34, 48))


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: Rgb) -> None:
    draw.ellipse([_px(x - radius), _px(y - radius), _px(x + radius), _px(y + radius)], fill=colour)


def _px(share: float) -> float:
    return share * SIDE_PX
