"""The smallest engine: one pass of ten-second windows, each returned as it came.

Start a new engine here: load the model in `__init__`, say in `passes` how windows lie, compute in
`separate`. Reading, overlap-add, checkpoints, progress and limits are the harness's.
"""

from ironclad_harness.engine import EngineContext, EngineError, Pass, Samples, Window

STEMS = ("mixture",)
WINDOW_S = 10


class TemplateEngine:
    """Gives the mixture back as the stem ``mixture``."""

    def __init__(self, context: EngineContext) -> None:
        if context.stems != STEMS:
            raise EngineError("engine_protocol", f"template makes {list(STEMS)}, not {list(context.stems)}")
        self._window = WINDOW_S * context.sample_rate_hz

    def passes(self) -> tuple[Pass, ...]:
        """Return one pass of windows that do not overlap."""
        return (Pass(window=self._window, hop=self._window),)

    def separate(self, y: Samples, *, window: Window) -> Samples:
        """Return `y` as the only stem."""
        return y[None]
