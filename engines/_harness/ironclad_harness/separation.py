"""The work itself: windows through the engine, overlap-add, stems on disk, a checkpoint per chunk.

Knows engines, passes and files; how the process is started, stopped and how failures are named belongs
to `worker`.
"""

import bisect
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ironclad_harness import checkpoint
from ironclad_harness.engine import Engine, EngineError, Samples, Window
from ironclad_harness.events import Events
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
    """One song on its way through one engine."""

    def __init__(self, request: Request, *, engine: Engine, events: Events, stop: Callable[[], bool]) -> None:
        passes = tuple(engine.passes())
        if not passes:
            raise protocol_error("the engine declares no pass")
        for plan in passes:
            check_pass(plan, stems=request.stems)
        self._request, self._engine, self._events, self._stop = request, engine, events, stop
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
        resumed_chunks = self._resume()
        reader = MixtureReader(self._request.mixture)
        try:
            while self._overlap.done_windows < self._overlap.windows:
                self._step(reader)
        finally:
            reader.close()
            self._files.close()
        self._files.finish()
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
        number = self._overlap.next_pass()
        current = self._overlap.passes[number]
        span = current.grid.span(current.next_window)
        window = Window(
            pass_index=number,
            index=current.next_window,
            start=span.start,
            frames=span.frames,
            read_start=span.read_start,
        )
        y = reader.read(span.read_start, frames=span.read_frames)
        current.add(self._separate(y, window=window), span=span)
        finished = self._overlap.finished
        chunks_before = self._chunks_done()
        if finished > self._progress.frames:
            self._files.append(self._overlap.take())
            self._progress = checkpoint.Progress(frames=finished, compute_s=self._progress.compute_s)
        stopping = self._stop()
        if stopping or self._chunks_done() > chunks_before:
            self._save()
        self._report()
        if stopping:
            raise Stopped

    def _separate(self, y: Samples, *, window: Window) -> Samples:
        request = self._request
        # The same draws for a window whether or not the work was resumed before it.
        seed = (request.seed * 1_000_003 + window.pass_index * 7_919 + window.index) % 2**32
        random.seed(seed)
        np.random.seed(seed)
        expected = (len(request.stems), *y.shape)
        stems = self._engine.separate(y, window=window)
        if not isinstance(stems, np.ndarray) or stems.shape != expected:
            found = getattr(stems, "shape", type(stems).__name__)
            raise protocol_error(f"window {window.index} gave {found} instead of stems of shape {expected}")
        if not np.isfinite(stems).all():
            raise EngineError("stems_invalid", f"window {window.index} gave NaN or infinite samples")
        return stems.astype(np.float32, copy=False)

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
