"""Makes the delivered cover of a picture that was fetched from the network. Runs in a sandboxed child.

Covers inside songs are `audio/tags.py`'s; how any picture is opened and checked, `audio/artwork.py`'s.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ironclad_assets.audio.artwork import UnusablePicture, make_cover

RENDERED = "rendered.jpg"


def render(report: Callable[[float, str], None], *, picture: str, work: str) -> dict[str, Any]:
    """Write the cover into the work folder.

    Args:
        report: takes progress.
        picture: the fetched file.
        work: folder for ``rendered.jpg``.

    Returns:
        ``path``, ``width_px``, ``height_px``, and ``problem``: why there is none, empty where there is one.
    """
    report(0.0, "looking at the picture")
    try:
        cover = make_cover(Path(picture).read_bytes())
    except UnusablePicture as error:
        return {"path": RENDERED, "width_px": 0, "height_px": 0, "problem": str(error)[:300]}
    (Path(work) / RENDERED).write_bytes(cover.data)
    return {"path": RENDERED, "width_px": cover.width_px, "height_px": cover.height_px, "problem": ""}
