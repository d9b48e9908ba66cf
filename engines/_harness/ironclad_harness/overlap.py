"""Overlap-add: windows of stems go in, finished frames come out, in constant memory.

A frame is finished once no later window of any pass can change it. What is not finished yet is the state
that a checkpoint saves; values do not depend on when frames are taken out or where work was resumed.
"""

from collections.abc import Sequence

import numpy as np

from ironclad_harness.engine import Pass, Samples
from ironclad_harness.grid import Grid, Span
from ironclad_harness.protocol import protocol_error


class PassSum:
    """The running sum of one pass: windows added from `base`, the first frame not taken out yet."""

    def __init__(self, grid: Grid, *, stems: int, channels: int) -> None:
        self.grid = grid
        self.next_window = 0
        self.base = 0
        plan = grid.plan
        self._window_weights = np.ones(plan.window, np.float32) if plan.weights is None else plan.weights
        self._sum = np.zeros((stems, channels, 0), dtype=np.float32)
        self._weight = np.zeros(0, dtype=np.float32)

    @property
    def finished(self) -> int:
        """The frame before which nothing will change any more."""
        return max(0, self.grid.start(self.next_window))

    def add(self, stems: Samples, *, span: Span) -> None:
        """Add the engine's output for `span`, shape (stems, channels, span.read_frames), as next window."""
        lead = max(0, -span.start)
        first, frames = span.start + lead - self.base, span.frames - lead
        self.next_window += 1
        if frames <= 0:
            return
        kept = stems[..., span.skip + lead : span.skip + span.frames]
        weights = self._window_weights[lead : span.frames]
        self._reserve(first + frames)
        if self.grid.plan.weights is None:
            self._sum[..., first : first + frames] += kept
        else:
            self._sum[..., first : first + frames] += kept * weights
        self._weight[first : first + frames] += weights

    def _reserve(self, frames: int) -> None:
        missing = frames - self._weight.size
        if missing > 0:
            self._sum = np.concatenate([self._sum, np.zeros((*self._sum.shape[:2], missing), np.float32)], axis=2)
            self._weight = np.concatenate([self._weight, np.zeros(missing, np.float32)])

    def take(self, end: int) -> Samples:
        """Remove and return the frames from `base` to `end`, shape (stems, channels, frames)."""
        frames = end - self.base
        self._reserve(frames)
        y = self._sum[..., :frames]
        if self.grid.plan.normalised:
            y = y / self._weight[:frames]
        # Copies, so that the large arrays before them are freed.
        self._sum, self._weight = self._sum[..., frames:].copy(), self._weight[frames:].copy()
        self.base = end
        return y

    def state(self) -> tuple[Samples, Samples]:
        """Return what a checkpoint must keep: the unfinished sums and their weights."""
        return self._sum, self._weight

    def restore(self, state: tuple[Samples, Samples], *, base: int, next_window: int) -> None:
        """Continue from a saved state."""
        self._sum, self._weight = state
        self.base, self.next_window = base, next_window


class OverlapAdd:
    """All passes of an engine over one song."""

    def __init__(self, passes: Sequence[Pass], *, stems: tuple[str, ...], channels: int, frames: int) -> None:
        self.passes = [PassSum(Grid(plan, frames), stems=len(stems), channels=channels) for plan in passes]
        self.windows = sum(each.grid.windows for each in self.passes)
        weights = np.array([[plan.stem_weights.get(stem, 1.0) for stem in stems] for plan in passes], np.float64)
        total = weights.sum(axis=0)
        if not np.all(total > 0):
            raise protocol_error("every stem needs a positive weight in at least one pass")
        self._shares = (weights / total).astype(np.float32)[..., np.newaxis, np.newaxis]

    @property
    def done_windows(self) -> int:
        return sum(each.next_window for each in self.passes)

    @property
    def finished(self) -> int:
        """The frame before which no pass will change anything any more."""
        return min(each.finished for each in self.passes)

    def next_pass(self) -> int:
        """Return the number of the pass that is furthest behind and has windows left."""
        left = [n for n, each in enumerate(self.passes) if each.next_window < each.grid.windows]
        return min(left, key=lambda n: (self.passes[n].grid.start(self.passes[n].next_window), n))

    def take(self) -> Samples:
        """Remove and return all finished frames, shape (stems, channels, frames)."""
        end = self.finished
        if len(self.passes) == 1:
            return self.passes[0].take(end)
        y: Samples = self.passes[0].take(end) * self._shares[0]
        for each, share in zip(self.passes[1:], self._shares[1:], strict=True):
            y += each.take(end) * share
        return y
