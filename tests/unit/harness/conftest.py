"""Requests for the odd engines, which workers run in processes of their own."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ironclad_conformance import worker
from ironclad_conformance.worker import Work

RATE = 1000

MANIFEST = """
name = "odd"
version = "1"
entry = "odd_engines:Quick"
default_model = "odd"

[[models]]
name = "odd"
stems = ["mixture"]
sample_rate_hz = 1000
channels = 2
"""


@pytest.fixture
def make_work(tmp_path: Path) -> Callable[..., Work]:
    """Give a function that lays out a request for one of the odd engines."""
    engine = tmp_path / "odd"
    engine.mkdir()
    (engine / "engine.toml").write_text(MANIFEST, encoding="utf-8")
    (engine / "odd_engines.py").symlink_to(Path(__file__).with_name("odd_engines.py"))

    def make(name: str, *, entry: str = "Quick", seconds: float = 20, **fields: object) -> Work:
        audio = np.random.default_rng(0).normal(0, 0.1, (int(seconds * RATE), 2)).astype(np.float32)
        work = worker.prepare(engine, folder=tmp_path / name, audio=audio, chunk_s=3)
        work.change_request(entry=f"odd_engines:{entry}", **fields)
        return work

    return make
