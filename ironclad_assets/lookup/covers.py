"""Covers from the archive: made presentable in a sandboxed child, and kept so that an album is fetched once.

What is kept is the fresh JPEG that `audio.artwork` made, never what the network sent. A cover's size is part of its
file's name.
"""

import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

from ironclad_assets.contracts.v1.lookup import FetchedCover
from ironclad_assets.errors import IroncladError, JobCanceled
from ironclad_assets.sandbox.limits import MEBIBYTE, Limits
from ironclad_assets.sandbox.task import run_task
from ironclad_assets.sandbox.watch import Watch
from ironclad_assets.storage import atomic

_RENDER = "ironclad_assets.audio.fetched_cover:render"
_LIMITS = Limits(cpu_s=10.0, memory_bytes=768 * MEBIBYTE, wall_s=60.0, file_bytes=16 * MEBIBYTE)
_LEAST_S = 2.0
"""A picture that arrived in the last moment is still worth so much."""

_SIZE = re.compile(r".*-([0-9]{1,5})x([0-9]{1,5})\.jpg")
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class KeptCover:
    """A cover from the cache, and whether it is new enough not to ask again."""

    cover: FetchedCover
    new: bool


class CoverCache:
    """The folder ``cover-art-cache`` of the store."""

    def __init__(self, folder: Path, *, days: float) -> None:
        self._folder = folder
        self._days = days

    def find(self, kind: str, mbid: str) -> KeptCover | None:
        """Return the kept front cover of a release or release group."""
        for path in sorted(self._folder.glob(f"{kind}-{mbid}-*.jpg")):
            size = _SIZE.fullmatch(path.name)
            try:
                data, at = path.read_bytes(), path.stat().st_mtime
            except OSError:
                continue
            if size is not None and data.startswith(b"\xff\xd8\xff") and int(size[1]) and int(size[2]):
                new = 0 <= time.time() - at < self._days * _DAY_S
                return KeptCover(FetchedCover(data=data, width_px=int(size[1]), height_px=int(size[2])), new)
        return None

    def keep(self, kind: str, mbid: str, cover: FetchedCover) -> None:
        """Keep a cover; where that fails the song has it all the same."""
        path = self._folder / f"{kind}-{mbid}-{cover.width_px}x{cover.height_px}.jpg"
        try:
            atomic.make_folder(self._folder)
            for old in self._folder.glob(f"{kind}-{mbid}-*.jpg"):
                if old != path:
                    old.unlink(missing_ok=True)
            atomic.write_bytes(path, cover.data)
        except (OSError, IroncladError):
            return


def render_cover(picture: Path, *, scratch: Path, within_s: float, watch: Watch) -> tuple[FetchedCover | None, str]:
    """Return the cover made of what was fetched, or None and why there is none.

    Raises:
        JobCanceled: the watch asked for it.
    """
    try:
        made = run_task(
            _RENDER,
            arguments={"picture": str(picture), "work": str(scratch)},
            limits=replace(_LIMITS, wall_s=min(_LIMITS.wall_s, max(_LEAST_S, within_s))),
            readable=[picture],
            writable=[scratch],
            watch=watch,
        )
        if made["problem"]:
            return None, f"the picture from the Cover Art Archive cannot be used: {made['problem']}"
        data = (scratch / made["path"]).read_bytes()
    except JobCanceled:
        raise
    except (IroncladError, OSError) as error:
        return None, f"the picture from the Cover Art Archive cannot be used: {error}"
    return FetchedCover(data=data, width_px=made["width_px"], height_px=made["height_px"]), ""
