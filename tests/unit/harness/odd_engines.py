"""Engines that real workers run in these tests: slow, greedy, forgetful, rude. Chosen by a request's `entry`."""

import ctypes
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ironclad_harness.engine import EngineContext, EngineError, Pass, Samples, Window


class Quick:
    """Returns the mixture times a random number of the window; keeps a network of one number."""

    made = 0

    def __init__(self, context: EngineContext) -> None:
        self.context = context
        self.factor = context.keeper.keep("network", self.load)

    def load(self) -> np.float32:
        Quick.made += 1
        return np.float32(0.5)

    def passes(self) -> tuple[Pass, ...]:
        return (Pass(window=2000, hop=1500),)

    def separate(self, y: Samples, *, window: Window) -> Samples:
        return y[None] * self.factor * np.float32(np.random.random())


class Slow(Quick):
    """Takes a fifth of a second for a window."""

    def separate(self, y: Samples, *, window: Window) -> Samples:
        time.sleep(0.2)
        return super().separate(y, window=window)


class SlowToLoad(Quick):
    """Takes three seconds until it is made."""

    def __init__(self, context: EngineContext) -> None:
        time.sleep(3)
        super().__init__(context)


class OneLongCall(Quick):
    """Spends three seconds in one call of a library that lets other threads run."""

    seconds = 3

    def separate(self, y: Samples, *, window: Window) -> Samples:
        if window.index == 1:
            ctypes.CDLL(None).sleep(self.seconds)
        return super().separate(y, window=window)


class VeryLongCall(OneLongCall):
    """Longer than any grace."""

    seconds = 60


class Failing(Quick):
    """Fails in its second window, with an open file."""

    def separate(self, y: Samples, *, window: Window) -> Samples:
        print("I am about to fail")  # noqa: T201 - engines may print
        if window.index:
            raise ValueError("it fails")
        return super().separate(y, window=window)


class Leaving(Quick):
    """Ends its process."""

    def separate(self, y: Samples, *, window: Window) -> Samples:
        sys.exit(7)


class NoDevice(Quick):
    """Is asked for a device that is not there."""

    def __init__(self, context: EngineContext) -> None:
        raise EngineError("device_unavailable", f"{context.device} is not there; there is only cpu")


class SaysItsDevice(Quick):
    """Tells what it really computes on."""

    device = "cuda:1 (a very fast one)"


class Greedy(Quick):
    """Has no memory for more than one window at once, from the seventh on."""

    def separate_many(self, ys: Sequence[Samples], *, windows: Sequence[Window]) -> Sequence[Samples]:
        if windows[-1].index >= 6:
            raise MemoryError(f"{len(ys)} windows are too many")
        return [self.separate(y, window=window) for y, window in zip(ys, windows, strict=True)]


class OpensItsFile(Quick):
    """Tells that it opened its weights, by a file beside them."""

    def __init__(self, context: EngineContext) -> None:
        for file in context.model_files.values():
            Path(f"{file.path}.opened").touch()
        super().__init__(context)


class CountsDescriptors(Quick):
    """Prints how many files its process has open."""

    def __init__(self, context: EngineContext) -> None:
        super().__init__(context)
        print(f"descriptors={len(os.listdir('/proc/self/fd'))} made={Quick.made}")  # noqa: T201 - engines may print
