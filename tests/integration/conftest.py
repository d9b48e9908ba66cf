"""A whole installation in one process: store, ledger, graph and a Dagster instance, with a fast engine.

The engine `halves` gives a quarter of the mixture as vocals and the rest as other; it runs through harness,
guard and protocol like any engine.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ironclad_assets.contracts.v1.job import Job
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.definitions import build_definitions
from ironclad_assets.intake.upload import take_file
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.partitions import songs
from ironclad_assets.sensors.dispatch import request_runs, run_key
from ironclad_assets.settings import MEBIBYTE, Settings
from ironclad_assets.storage.store import Store
from tests import synth

ENGINES = Path(__file__).resolve().parent.parent.parent / "engines"

HALVES_MANIFEST = """
name = "halves"
version = "{version}"
kind = "separation"
protocol = 1
description = "A quarter of the mixture as vocals, the rest as other"
licence = "MIT"
entry = "halves_engine:Halves"
environment = "core"
default_model = "quarter"
devices = ["cpu"]

[[models]]
name = "quarter"
description = "No weights"
stems = ["vocals", "other"]
sample_rate_hz = 44100
channels = 2
"""

HALVES_MODULE = """
import numpy as np
from ironclad_harness.engine import Pass


class Halves:
    def __init__(self, context):
        self._window = 2 * context.sample_rate_hz

    def passes(self):
        return (Pass(window=self._window, hop=self._window),)

    def separate(self, y, *, window):
        return np.stack([y * np.float32(0.25), y * np.float32(0.75)])
"""


def write_halves(engines: Path, *, version: str = "1.0.0", module: str = HALVES_MODULE) -> None:
    """Install the engine `halves` in a folder of engines."""
    folder = engines / "halves"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "engine.toml").write_text(HALVES_MANIFEST.format(version=version), encoding="utf-8")
    (folder / "halves_engine.py").write_text(module, encoding="utf-8")
    for shared in ("_harness", "spectral"):
        link = engines / shared
        if not link.exists():
            link.symlink_to(ENGINES / shared)


@dataclass
class Installation:
    """Everything a test needs to send songs through the graph."""

    settings: Settings
    store: Store
    ledger: Ledger
    instance: dg.DagsterInstance
    folder: Path

    @property
    def definitions(self) -> dg.Definitions:
        return build_definitions(self.settings)

    def submit(self, path: Path, *, user_id: str = "local", **options: Any) -> Job:
        """Bring a file in through the one intake; return its job."""
        registration = take_file(
            path,
            ledger=self.ledger,
            store=self.store,
            settings=self.settings,
            user_id=user_id,
            options=JobOptions(**options),
            door="test",
            actor="test",
        )
        self.instance.add_dynamic_partitions(songs.name, [registration.job.song])
        return registration.job

    def song(self, name: str = "song.flac", *, seconds: float = 1.5, seed: int = 0, **options: Any) -> Job:
        """Synthesise and submit a song."""
        path = self.folder / name
        synth.write_flac(path, synth.noise(seconds, seed=seed))
        return self.submit(path, **options)

    def dispatch(self, job: Job) -> dg.ExecuteInProcessResult:
        """Run a job as the dispatcher requests it."""
        request = request_runs([job]).run_requests[0]
        self.ledger.mark_dispatched([job.job_uuid])
        return self.run(job.song, tags={**request.tags, "dagster/run_key": run_key(job)})

    def run(self, song: str, *, assets: list[str] | None = None, tags: dict[str, str] | None = None) -> Any:
        """Run the whole graph, or some assets as "Materialize" does, for one song."""
        selection = [dg.AssetKey(name) for name in assets] if assets else None
        return self.definitions.resolve_job_def("process_song").execute_in_process(
            partition_key=song, instance=self.instance, raise_on_error=False, tags=tags, asset_selection=selection
        )


@contextmanager
def open_installation(folder: Path) -> Iterator[Installation]:
    """An installation in `folder`, complete and empty."""
    write_halves(folder / "engines")
    settings = Settings(
        home=folder / "home",
        engines_path=folder / "engines",
        default_engine="halves",
        settle_s=0.2,
        disk_reserve_bytes=MEBIBYTE,
    )
    store = Store(settings.store_root, reserve_bytes=settings.disk_reserve_bytes)
    store.create()
    ledger = Ledger(settings.ledger_url)
    ledger.migrate()
    with dg.DagsterInstance.ephemeral() as instance:
        yield Installation(settings, store, ledger, instance, folder)
    ledger.close()


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with open_installation(tmp_path) as opened:
        yield opened
