"""The work itself: windows through the engine, overlap-add, stems on disk, a checkpoint per chunk.

Knows engines, passes and files; how the process is started and stopped and how failures are reported
belongs to `job`.
"""

import bisect
import contextlib
import random
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ironclad_harness import checkpoint
from ironclad_harness.engine import BatchEngine, Engine, EngineError, Samples, Window
from ironclad_harness.events import Events
from ironclad_harness.failures import name_failure
from ironclad_harness.grid import MixtureReader, check_pass
from ironclad_harness.overlap import OverlapAdd
from ironclad_harness.protocol import Request, protocol_error
from ironclad_harness.stem_files import StemFiles
from ironclad_harness.stopping import Stopped


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the result says about the work."""

    computed_chunks: int
    resumed_chunks: int
    compute_s: float


class Separation:
    """One song on its way through one engine.

    Windows go to the engine one by one, or in groups of the request's batch. A group ends at a multiple of
    the batch, and checkpoints fall between groups, so work that is resumed meets the same groups.
    """

    def __init__(self, request: Request, *, engine: Engine, events: Events, stop: Callable[[], bool]) -> None:
        passes = tuple(engine.passes())
        if not passes:
            raise protocol_error("the engine declares no pass")
        for plan in passes:
            check_pass(plan, stems=request.stems)
        self._request, self._engine, self._events, self._stop = request, engine, events, stop
        self._batch = request.batch if isinstance(engine, BatchEngine) else 1
        mixture = request.mixture
        self._overlap = OverlapAdd(passes, stems=request.stems, channels=mixture.channels, frames=mixture.frames)
        self._identity = checkpoint.identify(request.key, overlap=self._overlap)
        self._files = StemFiles(request.output_dir, stems=request.stems, channels=mixture.channels)
        self._progress = checkpoint.Progress(frames=0, compute_s=0.0)
        self._started_s = time.process_time()

    def run(self) -> Outcome:
        """Do the work from the last checkpoint to the end.

        Raises:
            EngineError: the engine failed or answered wrongly.
            Stopped: a stop was asked for; the checkpoint is in place.
        """
        try:
            resumed_chunks = self._resume()
            with contextlib.closing(MixtureReader(self._request.mixture)) as reader:
                while self._overlap.done_windows < self._overlap.windows:
                    self._step(reader)
            self._files.finish()
        finally:
            self._files.close()
        return Outcome(
            computed_chunks=len(self._request.chunk_ends) - resumed_chunks,
            resumed_chunks=resumed_chunks,
            compute_s=self._spent_s(),
        )

    def remove_output(self) -> None:
        """Remove stems and checkpoint, so that nothing is left of work that cannot be continued."""
        self._files.remove()
        checkpoint.discard(self._request.output_dir)

    def _resume(self) -> int:
        folder = self._request.output_dir
        found = checkpoint.load(folder, identity=self._identity, usable=self._files.can_resume)
        if found is None:
            checkpoint.discard(folder)
            self._files.remove()
        else:
            self._progress = found.progress
            found.restore(self._overlap)
        self._files.open(frames=self._progress.frames)
        self._events.started(resumed_frames=self._progress.frames, fraction=self._fraction())
        self._report()
        return self._chunks_done()

    def _step(self, reader: MixtureReader) -> None:
        """Do one group of windows, or stop; save at the end of a chunk and before a stop."""
        if self._stop():
            self._save()
            raise Stopped
        group = self._next_group()
        try:
            answers = self._separate([reader.read(w.read_start, frames=self._read_frames(w)) for w in group], group)
        except Exception as error:
            if name_failure(error).code == "out_of_memory":
                self._save_before_giving_up(error)
            raise
        chunks_before = self._chunks_done()
        for window, stems in zip(group, answers, strict=True):
            self._add(stems, window=window)
        if self._chunks_done() > chunks_before:
            self._save()
        self._report()

    def _next_group(self) -> list[Window]:
        """Return the windows that come next: of one pass, up to the next multiple of the batch."""
        number = self._overlap.next_pass()
        current = self._overlap.passes[number]
        first = current.next_window
        last = min((first // self._batch + 1) * self._batch, current.grid.windows)
        spans = [(index, current.grid.span(index)) for index in range(first, last)]
        return [
            Window(pass_index=number, index=index, start=span.start, frames=span.frames, read_start=span.read_start)
            for index, span in spans
        ]

    def _read_frames(self, window: Window) -> int:
        return self._overlap.passes[window.pass_index].grid.span(window.index).read_frames

    def _add(self, stems: Samples, *, window: Window) -> None:
        current = self._overlap.passes[window.pass_index]
        current.add(stems, span=current.grid.span(window.index))
        finished = self._overlap.finished
        if finished > self._progress.frames:
            self._files.append(self._overlap.take())
            self._progress = checkpoint.Progress(frames=finished, compute_s=self._progress.compute_s)

    def _separate(self, ys: list[Samples], group: Sequence[Window]) -> list[Samples]:
        """Return the engine's stems of each window of `group`, checked."""
        # The same draws for a window whether or not the work was resumed before it.
        seed_generators(self._request.seed, window=group[0])
        engine = self._engine
        if len(group) > 1 and isinstance(engine, BatchEngine):
            answers = list(engine.separate_many(ys, windows=group))
        else:
            answers = [engine.separate(y, window=window) for y, window in zip(ys, group, strict=True)]
        if len(answers) != len(group):
            raise protocol_error(f"{len(group)} windows from {group[0].index} on gave {len(answers)} answers")
        return [self._check(stems, y=y, window=w) for stems, y, w in zip(answers, ys, group, strict=True)]

    def _check(self, stems: Samples, *, y: Samples, window: Window) -> Samples:
        expected = (len(self._request.stems), *y.shape)
        if not isinstance(stems, np.ndarray) or stems.shape != expected:
            found = getattr(stems, "shape", type(stems).__name__)
            raise protocol_error(f"window {window.index} gave {found} instead of stems of shape {expected}")
        if not np.isfinite(stems).all():
            raise EngineError("stems_invalid", f"window {window.index} gave NaN or infinite samples")
        return stems.astype(np.float32, copy=False)

    def _save_before_giving_up(self, error: Exception) -> None:
        """Keep what is done, as far as the memory that is left allows: a smaller batch goes on from here."""
        traceback.clear_frames(error.__traceback__)  # the engine's arrays, so that there is room to save
        with contextlib.suppress(OSError, MemoryError):
            self._save()

    def _save(self) -> None:
        self._files.sync()
        saved = checkpoint.Progress(frames=self._progress.frames, compute_s=self._spent_s())
        checkpoint.save(self._request.output_dir, identity=self._identity, overlap=self._overlap, progress=saved)

    def _spent_s(self) -> float:
        return self._progress.compute_s + time.process_time() - self._started_s

    def _chunks_done(self) -> int:
        return bisect.bisect_right(self._request.chunk_ends, self._progress.frames)

    def _fraction(self) -> float:
        return self._overlap.done_windows / self._overlap.windows

    def _report(self) -> None:
        done, total = self._overlap.done_windows, self._overlap.windows
        message = f"window {done} of {total}"
        self._events.progress(self._fraction(), message=message, chunk=self._chunks_done(), windows=done)


def seed_generators(seed: int, *, window: Window | None = None) -> None:
    """Seed Python's and numpy's global generators: for `window`, or for making the engine."""
    pass_index, index = (window.pass_index, window.index) if window else (-1, 0)
    mixed = (seed * 1_000_003 + pass_index * 7_919 + index) % 2**32
    random.seed(mixed)
    np.random.seed(mixed)
