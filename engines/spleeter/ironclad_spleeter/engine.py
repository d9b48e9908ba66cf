"""The default engine: Spleeter's networks on OpenVINO, one segment of the song at a time.

A segment goes to the spectrum, its magnitude through the networks to masks, and each stem wanted back to
samples. How segments lie in the song belongs to `segments`, the networks to `network`.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from ironclad_harness.engine import EngineContext, EngineError, Pass, Samples, Window
from ironclad_spleeter.configuration import CHANNELS, MODEL_BINS, Configuration
from ironclad_spleeter.network import MaskNetwork
from ironclad_spleeter.segments import check_request, segment_frames, segment_pass
from ironclad_spleeter.spectrum import Spectrum, apply_mask, to_samples, to_spectrum
from ironclad_spleeter.weights import SUFFIX, read_weights

Item = TypeVar("Item")
Made = TypeVar("Made")


class SpleeterEngine:
    """Separates as Spleeter's 16 kHz configurations do, with the treble shared as the band below is."""

    def __init__(self, context: EngineContext) -> None:
        configuration = check_request(context)
        self._frames = segment_frames(context.window_s)
        self._stems = [configuration.instruments.index(stem) for stem in context.stems]
        self._pool = ThreadPoolExecutor(context.threads) if context.threads > 1 else None
        self._network = _keep_network(context, configuration=configuration, frames=self._frames)

    def passes(self) -> tuple[Pass, ...]:
        """Return the one grid of segments."""
        return (segment_pass(self._frames),)

    def separate(self, y: Samples, *, window: Window) -> Samples:
        """Return the stems of one segment."""
        stems = np.zeros((len(self._stems), *y.shape), dtype=np.float32)
        if not y.any():
            return stems  # a mask of silence is silence
        spectra = np.stack(list(self._each(to_spectrum, y)))
        masks = self._network.masks(np.abs(spectra[..., :MODEL_BINS]))

        def finish(place: tuple[int, int]) -> None:
            stem, channel = place
            stems[stem, channel] = _masked(spectra[channel], mask=masks[self._stems[stem]][channel])

        for _ in self._each(finish, np.ndindex(len(self._stems), CHANNELS)):
            pass
        return stems

    def _each(self, function: Callable[[Item], Made], items: Iterable[Item]) -> Iterable[Made]:
        return map(function, items) if self._pool is None else self._pool.map(function, items)


def _masked(spectrum: Spectrum, *, mask: Samples) -> Samples:
    return to_samples(apply_mask(spectrum, mask=mask))


def _keep_network(context: EngineContext, *, configuration: Configuration, frames: int) -> MaskNetwork:
    name = f"{configuration.weights}{SUFFIX}"
    file = context.model_files.get(name)
    if file is None or not file.path.is_file():
        raise EngineError("model_missing", f"{name}; run `pipelinectl models fetch spleeter {configuration.weights}`")
    threads = context.threads

    def load() -> MaskNetwork:
        weights = read_weights(file.path, configuration=configuration)
        return MaskNetwork(weights, configuration=configuration, frames=frames, threads=threads)

    return context.keeper.keep(f"{configuration.weights} {file.sha256} {frames} {threads}", load)
