"""A picture of memory over the course of a song: one line per length, time as a share of the whole. SVG, no library."""

from collections.abc import Mapping, Sequence

Curve = Sequence[tuple[float, int]]
"""Seconds since the start, bytes held."""

WIDTH, HEIGHT = 720, 320
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 40, 45
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
MEBIBYTE = 1024**2
POINTS = 300


def draw_curves(curves: Mapping[str, Curve], *, title: str) -> str:
    """Return an SVG of all curves; each goes from its own start to its own end."""
    top_mib = 1.15 * max(held for curve in curves.values() for _, held in curve) / MEBIBYTE
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" ',
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="14">{title}</text>',
        f'<text x="{LEFT + width / 2}" y="{HEIGHT - 8}" text-anchor="middle">share of the time</text>',
    ]
    for step in range(5):
        y = TOP + height * (1 - step / 4)
        parts.append(f'<line x1="{LEFT}" y1="{y:.0f}" x2="{LEFT + width}" y2="{y:.0f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.0f}" text-anchor="end">{top_mib * step / 4:.0f} MiB</text>')
        x = LEFT + width * step / 4
        parts.append(f'<text x="{x:.0f}" y="{HEIGHT - 26}" text-anchor="middle">{25 * step} %</text>')
    for number, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(
            f"{LEFT + width * share:.1f},{TOP + height * (1 - held / MEBIBYTE / top_mib):.1f}"
            for share, held in _thin(curve)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        y = TOP + 14 + 18 * number
        parts.append(f'<text x="{LEFT + width + 12}" y="{y}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _thin(curve: Curve) -> list[tuple[float, int]]:
    """Return at most `POINTS` points, each the largest of its share of time."""
    end = curve[-1][0] or 1.0
    largest: dict[int, int] = {}
    for at, held in curve:
        slot = round(POINTS * at / end)
        largest[slot] = max(largest.get(slot, 0), held)
    return [(slot / POINTS, held) for slot, held in sorted(largest.items())]
