"""An engine whose memory depends on batch, precision, device, window and model, for tests of the ladder.

What it needs is counted in units, and its parameter `budget` says how many there are; `really` makes it take
the memory in earnest, 8 MiB a unit, so that the watchdog has something to see.
"""

import shutil
from pathlib import Path

from tests.integration.conftest import write_halves

MANIFEST = """
name = "hungry"
version = "1.0.0"
kind = "separation"
protocol = 1
description = "Needs memory by batch, precision, device, window and model"
licence = "MIT"
entry = "hungry_engine:Hungry"
environment = "core"
default_model = "large"
devices = ["cpu", "cuda"]
precisions = ["full", "half"]

[[models]]
name = "large"
stems = ["vocals", "other"]
sample_rate_hz = 44100
channels = 2
smaller = "small"
smaller_windows_s = [1.0, 0.5]

[[models]]
name = "small"
stems = ["vocals", "other"]
sample_rate_hz = 44100
channels = 2

[parameters.budget]
type = "float"
default = 1000
minimum = 0
description = "Units of memory there are"

[parameters.spared]
type = "int"
default = 0
description = "Windows that need no memory"

[parameters.really]
type = "bool"
default = false
description = "Take the memory in earnest"

[parameters.quality]
type = "int"
default = 3
description = "Known to the large model alone"
models = ["large"]
"""

MODULE = """
import time

import numpy as np
from ironclad_harness.engine import Pass

UNITS = {"large": 8.0, "small": 1.0}
WINDOW_S = 2.0


class Hungry:
    def __init__(self, context):
        self.context = context
        self.window = int((context.window_s or WINDOW_S) * context.sample_rate_hz)

    def passes(self):
        return (Pass(window=self.window, hop=self.window),)

    def separate(self, y, *, window):
        return self.separate_many([y], windows=[window])[0]

    def separate_many(self, ys, *, windows):
        context = self.context
        need = UNITS[context.model] * len(ys) * (context.window_s or WINDOW_S)
        need *= 0.5 if context.precision == "half" else 1.0
        need *= 0.4 if context.device == "cpu" else 1.0
        parameters = context.parameters
        if windows[-1].index >= parameters["spared"] and parameters["really"]:
            self.hoard = np.ones((int(8 * need), 1024 * 1024), dtype=np.uint8)
            time.sleep(1.0)
        elif windows[-1].index >= parameters["spared"] and need > parameters["budget"]:
            raise MemoryError(f"asked for {need:g} units of {parameters['budget']:g}")
        share = np.float32(0.25 if context.precision == "full" else 0.26)
        return [np.stack([y * share, y - y * share]) for y in ys]
"""


def write_hungry(engines: Path) -> None:
    """Install the engine `hungry` beside `halves` in a folder of engines."""
    write_halves(engines)
    folder = engines / "hungry"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "engine.toml").write_text(MANIFEST, encoding="utf-8")
    (folder / "hungry_engine.py").write_text(MODULE, encoding="utf-8")
