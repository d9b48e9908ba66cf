"""The engine: normalise, cut as Demucs does, run the network, put back.

The harness reads windows and adds them up; grids are in `plans`, the loader in `loading`, what makes
networks fast on a CPU in `fast`.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ironclad_demucs import fast
from ironclad_demucs.devices import find_device, prepare_torch
from ironclad_demucs.loading import Bag, load_bag
from ironclad_demucs.options import read_options
from ironclad_demucs.plans import Cut, cut_window, place_cut, plan_passes
from ironclad_harness.engine import EngineContext, EngineError, Pass, Samples, Window

EPSILON = 1e-8
"""Added to the standard deviation, as in `demucs.api.Separator.separate_tensor`."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What stays in a warm worker: the bag, and for each of its networks what computes it."""

    bag: Bag
    modules: tuple[nn.Module, ...]


class DemucsEngine:
    """Separates with the networks of one of Demucs' models.

    Attributes:
        device: what is computed on, as torch names it.
    """

    def __init__(self, context: EngineContext) -> None:
        self._context = context
        self._options = read_options(context.parameters, window_s=context.window_s)
        device = find_device(context.device, precision=context.precision)
        prepare_torch(device, threads=context.threads)
        self.device = str(device)
        self._half = context.precision == "half"
        self._loaded = context.keeper.keep(self._key(), lambda: self._load(device))
        self._bag = self._loaded.bag
        self._check_format()
        self._stems = [self._bag.sources.index(stem) for stem in context.stems]
        self._plans = plan_passes(self._bag, stems=context.stems, options=self._options, seed=context.seed)
        self._mean = np.float32(context.statistics.mean)
        self._std = np.float32(context.statistics.std + EPSILON)

    def passes(self) -> tuple[Pass, ...]:
        """Return one pass per network and shift."""
        return tuple(plan.grid for plan in self._plans)

    def separate(self, y: Samples, *, window: Window) -> Samples:
        """Return the stems of one window."""
        return self.separate_many([y], windows=[window])[0]

    def separate_many(self, ys: Sequence[Samples], *, windows: Sequence[Window]) -> Sequence[Samples]:
        """Return the stems of several windows; those of one network and length go through it together."""
        groups: dict[tuple[int, Cut], list[int]] = defaultdict(list)
        for number, window in enumerate(windows):
            network = self._plans[window.pass_index].network
            cut = cut_window(self._bag.networks[network], frames=window.frames, options=self._options)
            groups[network, cut].append(number)
        stems: dict[int, Samples] = {}
        for (network, cut), numbers in groups.items():
            batch = np.stack([self._cut(ys[number], window=windows[number], cut=cut) for number in numbers])
            for number, found in zip(numbers, self._run(network, batch), strict=True):
                stems[number] = self._put_back(found, y=ys[number], window=windows[number], cut=cut)
        return [stems[number] for number in range(len(ys))]

    def _key(self) -> str:
        context = self._context
        files = ",".join(f"{name}={file.sha256}" for name, file in sorted(context.model_files.items()))
        return f"demucs {context.model} {context.device} {context.precision} {files}"

    def _load(self, device: torch.device) -> Loaded:
        bag = load_bag(self._context.model, files=self._context.model_files)
        if device.type == "cpu":
            return Loaded(bag, tuple(fast.accelerate(network) for network in bag.networks))
        return Loaded(bag, tuple(network.to(device) for network in bag.networks))

    def _check_format(self) -> None:
        context, bag = self._context, self._bag
        if not set(context.stems) <= set(bag.sources):
            raise EngineError(
                "engine_protocol", f"{context.model} makes {list(bag.sources)}, not {list(context.stems)}"
            )
        if (context.sample_rate_hz, context.channels) != (bag.sample_rate_hz, bag.channels):
            raise EngineError(
                "engine_protocol",
                f"{context.model} wants {bag.sample_rate_hz} Hz and {bag.channels} channels, "
                f"not {context.sample_rate_hz} and {context.channels}",
            )

    def _cut(self, y: Samples, *, window: Window, cut: Cut) -> Samples:
        """Return the normalised samples that a network is given, shape (channels, cut.frames); zeros stay zero."""
        first, last = self._context.song_range(window, frames=y.shape[1])
        at = place_cut(cut, window=window)
        begin, end = max(first, at), min(last, at + cut.frames)
        given = np.zeros((y.shape[0], cut.frames), dtype=np.float32)
        if begin < end:
            given[:, begin - at : end - at] = (y[:, begin:end] - self._mean) / self._std
        return given

    def _put_back(self, found: Samples, *, y: Samples, window: Window, cut: Cut) -> Samples:
        """Return a network's output where the window lies in `y`, shape (stems, channels, frames of y)."""
        stems = np.zeros((len(self._stems), *y.shape), dtype=np.float32)
        at = window.start - window.read_start
        own = found[self._stems, :, cut.lead : cut.lead + window.frames]
        stems[..., at : at + window.frames] = own * self._std + self._mean
        return stems

    def _run(self, network: int, batch: Samples) -> Samples:
        """Return what a network makes of `batch`, shape (windows, sources, channels, frames)."""
        module = self._loaded.modules[network]
        given = torch.from_numpy(batch).to(self.device)
        try:
            with torch.inference_mode():
                found = _run_half(module, given) if self._half else module(given)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            raise
        except RuntimeError as error:
            if "can't allocate memory" in str(error):
                raise MemoryError(str(error)) from error
            raise
        result: Samples = found.float().cpu().numpy()
        return result


def _run_half(module: nn.Module, given: Tensor) -> Tensor:
    """Return what `module` makes of `given` in float16; windows that go beyond its range (65504) in float32."""
    with torch.autocast("cuda", dtype=torch.float16):
        found: Tensor = module(given).float()
    beyond = [number for number in range(len(found)) if not torch.isfinite(found[number]).all()]
    for number in beyond:  # one by one: what a window gives must not depend on those beside it
        found[number] = module(given[number : number + 1])[0]
    return found
