"""Compare separated stems with the true ones: signal-to-distortion ratio, over the whole length.

A task for the sandbox, streaming in constant memory. It measures; what is good enough is for the caller.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from math import inf, log10
from typing import Any

import numpy as np
import soundfile as sf

from ironclad_assets.errors import ErrorCode, PermanentFailure

BLOCK_FRAMES = 131_072


def compare_stems(
    report: Callable[[float, str], None],
    *,
    references: dict[str, str | list[str]],
    estimates: dict[str, str],
    gains_db: dict[str, float] | None = None,
) -> dict[str, Any]:
    """Return the SDR in dB of each estimate.

    ``SDR = 10 log10(sum(reference^2) / sum((reference - estimate)^2))``, over all frames and channels in
    float64, with no scaling or shifting: 0 dB is what silence would get. Where both sums are zero, or the
    error is, the ratio is not finite and None is returned.

    Args:
        report: takes progress as a fraction and a message.
        references: label to the true stem's file; several files are summed (an accompaniment).
        estimates: label to the separated file, any format that soundfile reads; each label has a reference.
        gains_db: label to the gain that an estimate is known to carry; it is taken back first.

    Raises:
        PermanentFailure: an estimate differs from its reference in rate, channels or length.
    """
    ratios = {}
    for index, (label, estimate) in enumerate(estimates.items()):
        report(index / len(estimates), f"comparing {label}")
        reference = references[label]
        paths = [reference] if isinstance(reference, str) else reference
        undo = 10 ** (-(gains_db or {}).get(label, 0.0) / 20)
        ratios[label] = _sdr_db(label, references=paths, estimate=estimate, undo=undo)
    return ratios


def _sdr_db(label: str, *, references: list[str], estimate: str, undo: float) -> float | None:
    signal = error = 0.0
    for truth, guess in _blocks(label, references=references, estimate=estimate):
        signal += float(np.sum(np.square(truth)))
        error += float(np.sum(np.square(truth - undo * guess)))
    ratio = signal / error if error > 0 else inf
    return 10 * log10(ratio) if 0 < ratio < inf else None


def _blocks(label: str, *, references: list[str], estimate: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield blocks of the summed references and of the estimate, shape (frames, channels), float64."""
    with ExitStack() as stack:
        truths = [stack.enter_context(sf.SoundFile(path)) for path in references]
        guess = stack.enter_context(sf.SoundFile(estimate))
        expected, found = [(f.samplerate, f.channels, f.frames) for f in (truths[0], guess)]
        if expected != found:
            raise PermanentFailure(
                f"{label}: (rate, channels, frames) is {found}, expected {expected}", code=ErrorCode.STEMS_INVALID
            )
        for block in guess.blocks(BLOCK_FRAMES, dtype="float64", always_2d=True):
            truth = sum(f.read(len(block), dtype="float64", always_2d=True) for f in truths)
            yield np.asarray(truth), block
