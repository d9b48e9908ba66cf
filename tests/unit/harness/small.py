"""A small song and a small engine of two passes, in this process: what the harness's tests share."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ironclad_harness import checkpoint
from ironclad_harness.engine import Engine, Pass, Samples, Statistics, Window, crossfade
from ironclad_harness.events import Events
from ironclad_harness.protocol import Mixture, Request
from ironclad_harness.separation import Outcome, Separation

FRAMES = 5000
CHUNK = 700


class Counting:
    """An engine of two overlapping passes that counts its windows and draws random numbers."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def passes(self) -> list[Pass]:
        return [
            Pass(window=900, hop=600, offset=-100, weights=crossfade(900, overlap=300), context_left=20),
            Pass(window=1000, hop=800, tail="centre", stem_weights={"two": 3.0}),
        ]

    def separate(self, y: Samples, *, window: Window) -> Samples:
        self.seen.append((window.pass_index, window.index))
        noise = np.random.standard_normal(y.shape).astype(np.float32)
        return np.stack([y * 0.3 + noise, y * (0.7 + window.index)])


def make_request(folder: Path, *, key: str = "key", batch: int = 1) -> Request:
    """Lay out a song of noise and a request for it."""
    folder.mkdir(exist_ok=True)
    mixture = np.random.default_rng(0).normal(0, 0.1, (FRAMES, 2)).astype("<f4")
    (folder / "mixture").write_bytes(mixture.tobytes())
    (folder / "out").mkdir(exist_ok=True)
    return Request(
        entry="m:C",
        model="m",
        stems=("one", "two"),
        parameters={},
        mixture=Mixture(path=folder / "mixture", sample_rate_hz=100, channels=2, frames=FRAMES),
        statistics=Statistics(mean=0, std=1, peak=1, rms=1),
        chunk_ends=(*range(CHUNK, FRAMES, CHUNK), FRAMES),
        key=key,
        output_dir=folder / "out",
        device="cpu",
        threads=1,
        seed=7,
        batch=batch,
    )


def work(request: Request, *, engine: Engine | None = None, stop: Callable[[], bool] = lambda: False) -> Outcome:
    """Run the request in this process."""
    return Separation(request, engine=engine or Counting(), events=Events(None), stop=stop).run()


def stems(request: Request) -> list[bytes]:
    """Return the finished stems."""
    return [(request.output_dir / f"{stem}.f32").read_bytes() for stem in request.stems]


def read_header(request: Request) -> dict[str, Any]:
    """Return the facts of the checkpoint, those of none where there is none."""
    path = request.output_dir / checkpoint.NAME
    if not path.exists():
        return {"frames": 0, "next_windows": [0, 0]}
    return json.loads(path.read_bytes().partition(b"\n")[0])
