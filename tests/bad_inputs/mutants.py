"""Two hundred spoilt copies of a good song, judged one after the other in one confined child.

A task for `run_task`: the decoder is the real one, the confinement too; only the start of a child per copy is saved.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ironclad_assets.audio.probe import inspect_file
from ironclad_assets.errors import IroncladError


def mutate(content: bytes, *, seed: int) -> bytes:
    """Return `content` with some bytes changed, a stretch removed, or another doubled."""
    rng = np.random.default_rng(seed)
    data = bytearray(content)
    for position in rng.integers(0, len(data), size=int(rng.integers(1, 40))):
        data[position] = int(rng.integers(0, 256))
    start, length = int(rng.integers(0, len(data))), int(rng.integers(0, 3_000))
    if seed % 3 == 1:
        del data[start : start + length]
    elif seed % 3 == 2:
        data[start:start] = data[start : start + length]
    header = int(rng.integers(0, 64))
    if header < len(data):
        data[header] = int(rng.integers(0, 256))
    return bytes(data)


def inspect_mutants(
    report: Callable[[float, str], None], *, path: str, first: int, last: int
) -> dict[str, Any]:  # lists of codes and seconds by seed
    """Judge the mutants `first` to `last - 1` of the song at `path`; the seed is told before each."""
    content, spoilt = Path(path).read_bytes(), Path(path).with_name("spoilt")
    codes, seconds = [], []
    for seed in range(first, last):
        report(0.0, str(seed))
        spoilt.write_bytes(mutate(content, seed=seed))
        began = time.process_time()
        try:
            found = inspect_file(
                lambda _fraction, _message: None,
                path=str(spoilt),
                name="song",
                min_duration_s=0.1,
                max_duration_s=14_400.0,
            )
            codes.append("accepted" if found["frames"] > 0 else "accepted without audio")
        except IroncladError as error:
            codes.append(error.code.code)
        seconds.append(time.process_time() - began)
    return {"codes": codes, "seconds": seconds}
