"""The checkpoint: how far the work is, and the overlap sums that are not finished yet.

One file, replaced atomically after the stems' data is durable: a JSON line, then the arrays as raw
float32. A checkpoint of other work (another key, other passes) or a damaged one counts as none.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ironclad_harness.engine import Samples
from ironclad_harness.overlap import OverlapAdd
from ironclad_harness.protocol import write_atomically

NAME = "checkpoint"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work is: frames of every stem that are durable, and processor seconds spent."""

    frames: int
    compute_s: float


def identify(key: str, *, overlap: OverlapAdd) -> str:
    """Return what a checkpoint must carry to be continued: a hash of the key and of every pass."""
    digest = hashlib.sha256(key.encode())
    for each in overlap.passes:
        plan = each.grid.plan
        digest.update(repr((plan.window, plan.hop, plan.offset, plan.context_left, plan.context_right)).encode())
        digest.update(repr((plan.normalised, sorted(plan.stem_weights.items()), plan.tail)).encode())
        digest.update(b"" if plan.weights is None else plan.weights.tobytes())
    return digest.hexdigest()


def save(folder: Path, *, identity: str, overlap: OverlapAdd, progress: Progress) -> None:
    """Replace the checkpoint in `folder`. The stems' data must be durable already."""
    arrays = [np.ascontiguousarray(array, dtype="<f4") for each in overlap.passes for array in each.state()]
    # Views, no copies: a checkpoint is also made when memory has just run out.
    body = [array.data.cast("B") for array in arrays if array.size]
    digest = hashlib.sha256()
    for part in body:
        digest.update(part)
    header = {
        "identity": identity,
        "frames": progress.frames,
        "compute_s": progress.compute_s,
        "next_windows": [each.next_window for each in overlap.passes],
        "shapes": [list(array.shape) for array in arrays],
        "sha256": digest.hexdigest(),
    }
    write_atomically(folder / NAME, [json.dumps(header, sort_keys=True).encode() + b"\n", *body])


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint that can be continued."""

    progress: Progress
    next_windows: tuple[int, ...]
    arrays: tuple[Samples, ...]

    def restore(self, overlap: OverlapAdd) -> None:
        """Put `overlap`, fresh and of the same passes, into the saved state."""
        for number, each in enumerate(overlap.passes):
            state = (self.arrays[2 * number], self.arrays[2 * number + 1])
            each.restore(state, base=self.progress.frames, next_window=self.next_windows[number])


def load(folder: Path, *, identity: str, usable: Callable[[int], bool]) -> Saved | None:
    """Return the checkpoint in `folder`; None where there is none to continue.

    Args:
        folder: where `save` put it.
        identity: what it must carry.
        usable: tells whether the stems hold that many frames.
    """
    try:
        line, _, body = (folder / NAME).read_bytes().partition(b"\n")
        header: dict[str, Any] = json.loads(line)  # our own JSON
        if header["identity"] != identity or header["sha256"] != hashlib.sha256(body).hexdigest():
            return None
        arrays = _split(body, shapes=header["shapes"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    progress = Progress(frames=header["frames"], compute_s=header["compute_s"])
    return Saved(progress, tuple(header["next_windows"]), arrays) if usable(progress.frames) else None


def discard(folder: Path) -> None:
    """Remove the checkpoint, if there is one."""
    (folder / NAME).unlink(missing_ok=True)


def _split(body: bytes, *, shapes: list[list[int]]) -> tuple[Samples, ...]:
    arrays, offset = [], 0
    for shape in shapes:
        count = int(np.prod(shape))
        flat = np.frombuffer(body, dtype="<f4", count=count, offset=offset * 4)
        arrays.append(flat.reshape(shape).astype(np.float32))
        offset += count
    return tuple(arrays)
