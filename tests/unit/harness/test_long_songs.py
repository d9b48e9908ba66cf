"""Ten hours: starts, saves, dies and resumes as cheaply at the end as at the beginning."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ironclad_conformance import worker
from ironclad_conformance.worker import Work, after_window
from ironclad_harness import checkpoint
from ironclad_harness.engine import Pass
from ironclad_harness.overlap import OverlapAdd
from ironclad_harness.protocol import read_request

RATE = 8000
FRAMES = 10 * 3600 * RATE
CHUNK = 60 * RATE
WINDOW, HOP = 65 * RATE, 60 * RATE

ENGINE = f"""
import numpy as np
from ironclad_harness.engine import Pass


class Halves:
    def __init__(self, context):
        pass

    def passes(self):
        return (Pass(window={WINDOW}, hop={HOP}),)

    def separate(self, y, *, window):
        return np.stack([y / 2, y / 2])
"""

MANIFEST = """
name = "halves"
version = "1"
entry = "halves:Halves"
default_model = "halves"

[[models]]
name = "halves"
stems = ["one", "two"]
sample_rate_hz = 8000
channels = 1
"""


@pytest.fixture
def ten_hours(tmp_path: Path) -> Work:
    """Give a request for ten hours of which the disk holds next to nothing: noise, then a hole."""
    engine = tmp_path / "halves"
    engine.mkdir()
    (engine / "engine.toml").write_text(MANIFEST, encoding="utf-8")
    (engine / "halves.py").write_text(ENGINE, encoding="utf-8")
    noise = np.random.default_rng(0).normal(0, 0.1, (30 * RATE, 1)).astype(np.float32)
    work = worker.prepare(engine, folder=tmp_path / "work", audio=noise)
    request = json.loads(work.request.read_text(encoding="utf-8"))
    os.truncate(request["mixture"]["path"], FRAMES * 4)
    chunks = [{"start": start, "frames": CHUNK} for start in range(0, FRAMES, CHUNK)]
    work.change_request(mixture={**request["mixture"], "frames": FRAMES}, chunks=chunks)
    return work


def timed(action: Callable[[], worker.Ending]) -> tuple[worker.Ending, float]:
    begun_s = time.monotonic()
    return action(), time.monotonic() - begun_s


def test_ten_hours_start_save_die_and_resume(ten_hours: Work) -> None:
    """SPLIT-008, SPLIT-009."""
    saved = ten_hours.output / "checkpoint"
    first, first_s = timed(lambda: worker.run(ten_hours, send=signal.SIGKILL, when=after_window(5)))
    early_bytes = saved.stat().st_size
    second, second_s = timed(lambda: worker.run(ten_hours, send=signal.SIGKILL, when=after_window(10)))
    assert [first.status, second.status] == [-signal.SIGKILL] * 2
    assert second.of_kind("started")[0]["resumed_frames"] >= 4 * HOP
    assert max(first_s, second_s) < 20, "about one second on an idle machine"
    assert early_bytes < 4 * 1.1 * 3 * (WINDOW - HOP), "the overlap of two stems and its weights, and no more"


def test_the_end_of_ten_hours_is_resumed_as_quickly_as_their_beginning(ten_hours: Work) -> None:
    """SPLIT-009."""
    done = 595
    plan = Pass(window=WINDOW, hop=HOP)
    overlap = OverlapAdd([plan], stems=("one", "two"), channels=1, frames=FRAMES)
    overlap.passes[0].restore(
        (np.zeros((2, 1, WINDOW - HOP), np.float32), np.ones(WINDOW - HOP, np.float32)),
        base=done * HOP,
        next_window=done,
    )
    progress = checkpoint.Progress(frames=done * HOP, compute_s=0.0)
    identity = checkpoint.identify(read_request(ten_hours.request).key, overlap=overlap)
    for stem in ("one", "two"):
        part = ten_hours.output / f"{stem}.f32.part"
        part.touch()
        os.truncate(part, done * HOP * 4)
    checkpoint.save(ten_hours.output, identity=identity, overlap=overlap, progress=progress)
    ending, seconds = timed(lambda: worker.run(ten_hours))
    assert ending.status == 0, ten_hours.log()
    result = ten_hours.result()
    assert result is not None
    assert (result["resumed_chunks"], result["computed_chunks"]) == (done, 600 - done)
    assert (ten_hours.output / "one.f32").stat().st_size == FRAMES * 4
    assert seconds < 20, "about one second on an idle machine"
