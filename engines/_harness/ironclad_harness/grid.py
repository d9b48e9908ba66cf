"""Where the windows of a pass lie, and reading them from the staged mixture.

Arithmetic on frame numbers, and the only reader of the mixture. Adding windows up belongs to `overlap`.
"""

import os
from dataclasses import dataclass

import numpy as np

from ironclad_harness.engine import Pass, Samples
from ironclad_harness.protocol import Mixture, protocol_error


@dataclass(frozen=True, slots=True)
class Span:
    """One window in frames of the song.

    `read_start` and `read_frames` are what the engine is given; of its output the `frames` frames after
    the first `skip` stand at `start` in the song.
    """

    start: int
    frames: int
    read_start: int
    read_frames: int
    skip: int


@dataclass(frozen=True, slots=True)
class Grid:
    """The windows of one pass over a song of `song_frames` frames."""

    plan: Pass
    song_frames: int

    @property
    def windows(self) -> int:
        """How many windows start before the song ends."""
        return -(-(self.song_frames - self.plan.offset) // self.plan.hop)

    def start(self, index: int) -> int:
        """Return the first frame of window `index`; the song's length for the one after the last."""
        return self.song_frames if index >= self.windows else self.plan.offset + index * self.plan.hop

    def span(self, index: int) -> Span:
        """Return window `index`."""
        plan = self.plan
        start = plan.offset + index * plan.hop
        frames = min(plan.window, self.song_frames - start)
        before = (plan.window - frames) // 2 if plan.tail == "centre" else 0
        return Span(
            start=start,
            frames=frames,
            read_start=start - before - plan.context_left,
            read_frames=plan.context_left + plan.window + plan.context_right,
            skip=plan.context_left + before,
        )


def check_pass(plan: Pass, *, stems: tuple[str, ...]) -> None:
    """Raise unless the windows of `plan` cover every frame with a positive weight.

    Raises:
        EngineError: ``engine_protocol``.
    """
    if not 1 <= plan.hop <= plan.window or min(plan.context_left, plan.context_right) < 0:
        raise protocol_error(f"a pass with window {plan.window} and hop {plan.hop} leaves frames out")
    if not -plan.window < plan.offset <= 0:
        raise protocol_error(f"a pass with offset {plan.offset} does not reach the song's first frame")
    if plan.weights is not None and (plan.weights.shape != (plan.window,) or not np.all(plan.weights > 0)):
        raise protocol_error(f"a pass needs {plan.window} positive weights")
    if unknown := set(plan.stem_weights) - set(stems):
        raise protocol_error(f"a pass weighs unknown stems {sorted(unknown)}")
    if any(not 0 <= weight < float("inf") for weight in plan.stem_weights.values()):
        raise protocol_error("stem weights must be finite and not negative")


class MixtureReader:
    """Reads any range of the staged mixture; nothing of the song stays in memory."""

    def __init__(self, mixture: Mixture) -> None:
        self._mixture = mixture
        self._descriptor = os.open(mixture.path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, start: int, *, frames: int) -> Samples:
        """Return `frames` frames from `start`, shape (channels, frames), with zeros outside the song."""
        mixture = self._mixture
        y = np.zeros((mixture.channels, frames), dtype=np.float32)
        first, last = max(start, 0), min(start + frames, mixture.frames)
        if first < last:
            content = self._read_bytes(first * mixture.frame_bytes, size=(last - first) * mixture.frame_bytes)
            y[:, first - start : last - start] = np.frombuffer(content, dtype="<f4").reshape(-1, mixture.channels).T
        return y

    def _read_bytes(self, offset: int, *, size: int) -> bytes:
        parts = []
        while size:
            part = os.pread(self._descriptor, size, offset)
            if not part:
                raise EOFError(f"{self._mixture.path} ended at byte {offset}")
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return b"".join(parts)

    def close(self) -> None:
        os.close(self._descriptor)
