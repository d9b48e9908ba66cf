"""Draw the song as people see it in the asset's metadata: stems over the mixture, as a small PNG.

Takes envelopes, not samples; collecting them while reading the files is part of this module too. Palette
image, so that it stays well below 20 kB and inline.
"""

import io
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ironclad_assets.audio.resample import Samples

WIDTH_PX, HEIGHT_PX = 600, 120
_LEGEND_PX = 16
_BACKGROUND, _INK, _MIXTURE = 0, 1, 2
_PALETTE = (
    (255, 255, 255), (60, 60, 60), (214, 214, 214),  # background, text, mixture
    (213, 94, 0), (0, 114, 178), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233),
)  # fmt: skip
"""Stems in the colours of Okabe and Ito, which people with colour blindness can tell apart."""


class Envelope:
    """Collects the peak of each column of the picture from a stream."""

    def __init__(self, frames: int) -> None:
        self._frames = max(1, frames)
        self._at = 0
        self.peaks = np.zeros(WIDTH_PX, dtype=np.float32)

    def add(self, y: Samples) -> None:
        """Take the next block, shape (channels, frames)."""
        heights = np.abs(y).max(axis=0)
        at = self._at
        self._at += len(heights)
        first = at * WIDTH_PX // self._frames
        last = min(WIDTH_PX - 1, (self._at - 1) * WIDTH_PX // self._frames)
        columns = np.arange(first, last + 1)
        starts = np.maximum(0, -(-columns * self._frames // WIDTH_PX) - at)
        starts = starts[starts < len(heights)]
        peaks = np.maximum.reduceat(heights, starts)
        self.peaks[first : first + len(peaks)] = np.maximum(self.peaks[first : first + len(peaks)], peaks)


def draw_waveform(mixture: npt.NDArray[np.float32], *, stems: Mapping[str, npt.NDArray[np.float32]]) -> bytes:
    """Return a PNG of the stems' envelopes over the mixture's, each of shape (WIDTH_PX,), with a legend."""
    scale = max(1e-9, float(mixture.max()), *(float(peaks.max()) for peaks in stems.values()))
    image = Image.new("P", (WIDTH_PX, HEIGHT_PX), _BACKGROUND)
    image.putpalette([value for colour in _PALETTE for value in colour])
    pen = ImageDraw.Draw(image)
    _fill(pen, mixture / scale, colour=_MIXTURE)
    # Loud ones first, so that quiet ones stay visible on top of them.
    colours = {name: 3 + index % (len(_PALETTE) - 3) for index, name in enumerate(stems)}
    for name in sorted(stems, key=lambda name: -float(np.square(stems[name], dtype=np.float64).sum())):
        _fill(pen, stems[name] / scale, colour=colours[name])
    _write_legend(pen, {"mixture": _MIXTURE, **colours})
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _fill(pen: ImageDraw.ImageDraw, heights: npt.NDArray[np.float32], *, colour: int) -> None:
    half = (HEIGHT_PX - _LEGEND_PX - 2) / 2
    middle = _LEGEND_PX + half
    for x, height in enumerate(np.clip(heights, 0.0, 1.0) * half):
        if height >= 0.5:
            pen.line((x, middle - float(height), x, middle + float(height)), fill=colour)


def _write_legend(pen: ImageDraw.ImageDraw, colours: Mapping[str, int]) -> None:
    font = ImageFont.load_default_imagefont()
    x = 4.0
    for name, colour in colours.items():
        pen.rectangle((x, 4, x + 8, 12), fill=colour)
        pen.text((x + 12, 3), name, fill=_INK, font=font)
        x += 12 + pen.textlength(name, font=font) + 12
