"""The engine itself: fifteen seconds at a time, spectrum to shares to stems.

The last stem is the window minus the others, so the stems sum to the mixture to the precision of float32.
"""

import numpy as np

from ironclad_harness.engine import EngineContext, EngineError, Pass, Samples, Window, crossfade
from ironclad_spectral.features import describe
from ironclad_spectral.scores import STEMS, Shares
from ironclad_spectral.transform import BINS, FRAME, to_samples, to_spectrum

HOP_S = 15
OVERLAP_S = 1
CONTEXT_S = 0.5
"""Read on both sides, so that no filter sees the edge of a window where it counts."""

FLOOR = 0.01
"""Magnitude below which differences do not count, times the song's RMS."""


class SpectralEngine:
    """Separates by the shape of sounds in time, pitch and stereo, and by what repeats."""

    def __init__(self, context: EngineContext) -> None:
        if context.channels != 2:
            raise EngineError("engine_protocol", f"spectral wants 2 channels, not {context.channels}")
        if context.stems != STEMS:
            raise EngineError("engine_protocol", f"spectral makes {list(STEMS)}, not {list(context.stems)}")
        rate = context.sample_rate_hz
        self._overlap, self._context = OVERLAP_S * rate, int(CONTEXT_S * rate)
        # Windows of equal length: a short last one would cost as much as a full one.
        total = context.frames + self._overlap
        self._hop = -(-total // -(-total // (HOP_S * rate)))
        self._floor = max(FLOOR * context.statistics.rms, 1e-9)
        self._shares = Shares(np.arange(BINS, dtype=np.float32) * np.float32(rate / FRAME))

    def passes(self) -> tuple[Pass, ...]:
        """Return one pass of windows that fade into one another."""
        window = self._hop + self._overlap
        return (
            Pass(
                window=window,
                hop=self._hop,
                offset=-self._overlap,
                context_left=self._context,
                context_right=self._context,
                weights=crossfade(window, overlap=self._overlap),
            ),
        )

    def separate(self, y: Samples, *, window: Window) -> Samples:
        """Return vocals, drums, bass and other of `y`."""
        spectrum = to_spectrum(y)
        stems = np.empty((len(STEMS), *y.shape), dtype=np.float32)
        stems[-1] = y
        for number, share in enumerate(self._shares.of(describe(spectrum, floor=self._floor))):
            stems[number] = to_samples(spectrum * share, frames=y.shape[1])
            stems[-1] -= stems[number]
        return stems
