"""Engines as Kubernetes jobs, against a cluster of this machine whose kubelet really runs the pods' commands."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from ironclad_assets.contracts.v1.engine import AudioFile, EngineRequest, EngineResult
from ironclad_assets.contracts.v1.staged_chunks import Chunk, MixtureStatistics
from ironclad_assets.engine_host.executor import SubprocessExecutor, run_surviving
from ironclad_assets.engine_host.registry import find_engines
from ironclad_assets.errors import ChildKilled, ErrorCode, IroncladError, JobCanceled
from ironclad_assets.resources.kubernetes_executor import KubernetesExecutor, make_executor
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.settings import Settings
from tests.unit.engine_host.rogues import Bench, set_up
from tests.unit.resources.fake_kubernetes import FakeKubernetes, Pod, run_pod

ENGINES = Path(__file__).resolve().parents[3] / "engines"
RATE = 44_100
LIMITS = Limits(cpu_s=60, memory_bytes=400 * 1024**2, wall_s=60, stall_s=30)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[FakeKubernetes]:
    with FakeKubernetes(tmp_path) as cluster:
        yield cluster


class Recorder:
    """Remembers progress and when it came; cancels once told."""

    def __init__(self, cancel_when: Callable[[], object] = lambda: False) -> None:
        self.told: list[tuple[float, float, str]] = []
        self.canceled_at: float | None = None
        self._cancel_when = cancel_when

    def progress(self, fraction: float, message: str) -> None:
        self.told.append((time.monotonic(), fraction, message))

    def canceled(self) -> bool:
        if self.canceled_at is None and self._cancel_when():
            self.canceled_at = time.monotonic()
        return self.canceled_at is not None

    def longest_silence_s(self) -> float:
        times = [moment for moment, _, _ in self.told]
        return max(later - earlier for earlier, later in zip(times, times[1:], strict=False))


def settings_for(bench: Bench, cluster: FakeKubernetes, **changes: Any) -> Settings:
    """Return settings for pods that see the bench's folder, whose engines are there too."""
    values: dict[str, Any] = {
        "home": bench.folder / "home",
        "kubernetes_config": cluster.config,
        "kubernetes_image": "registry.example/ironclad-{environment}:{version}",
        "kubernetes_engines_path": bench.engine.folder.parent,
        "kubernetes_python": sys.executable,
        "kubernetes_data_volume": str(bench.folder),
        "kubernetes_data_mount": bench.folder,
        "kubernetes_user_id": 1000,
    }
    return Settings(**(values | changes))


def in_an_asset(work: Callable[[dg.AssetExecutionContext], Any]) -> Any:
    """Return what `work` returns, or raise what it raises, called with the context of an asset's run."""
    outcome: list[Any] = []

    @dg.asset
    def song(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        try:
            outcome.append(work(context))
        except IroncladError as error:
            outcome.append(error)
        return dg.MaterializeResult()

    assert dg.materialize([song], instance=dg.DagsterInstance.ephemeral()).success
    if isinstance(outcome[0], IroncladError):
        raise outcome[0]
    return outcome[0]


def run(
    bench: Bench,
    settings: Settings,
    *,
    limits: Limits = LIMITS,
    watch: Recorder | None = None,
    surviving: bool = False,
    lost_s: float = 60.0,
) -> EngineResult:
    """Run the bench's request in a pod."""

    def work(context: dg.AssetExecutionContext) -> EngineResult:
        executor = KubernetesExecutor(settings, context, lost_s=lost_s, result_s=0.5)
        given = {"hand_off": bench.hand_off, "limits": limits, "log_path": bench.log_path, "watch": watch}
        if surviving:
            return run_surviving(executor, bench.request, engine=bench.engine, **given)
        return executor.run(bench.request, engine=bench.engine, **given)

    return in_an_asset(work)


def spectral_bench(folder: Path, *, seconds: float) -> Bench:
    """Return a song for the built-in engine: two tones and noise, in chunks of two seconds."""
    (folder / "output").mkdir(parents=True)
    frames = int(seconds * RATE)
    t = np.arange(frames) / RATE
    noise = np.random.default_rng(7).normal(0, 0.02, (frames, 2))
    y = noise + np.stack([np.sin(2 * np.pi * 220 * t), np.sin(2 * np.pi * 331 * t)], axis=1) * 0.2
    y.astype("<f4").tofile(folder / "mixture.f32")
    engine = find_engines(ENGINES)["spectral"]
    model = engine.manifest.models[0]
    request = EngineRequest(
        job_uuid="0a1b",
        song="song",
        engine="spectral",
        engine_version=engine.manifest.version,
        entry=engine.manifest.entry,
        model=model.name,
        stems=model.stems,
        mixture=AudioFile(path=str(folder / "mixture.f32"), sample_rate_hz=RATE, channels=2, frames=frames),
        statistics=MixtureStatistics(mean=0.0, std=0.15, peak=0.3, rms=0.15),
        chunks=tuple(Chunk(start=at, frames=min(2 * RATE, frames - at)) for at in range(0, frames, 2 * RATE)),
        key="a" * 64,
        output_dir=str(folder / "output"),
    )
    return Bench(engine=engine, request=request, folder=folder)


def stems(bench: Bench) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(bench.output.glob("*.f32"))}


def test_stems_from_a_pod_are_those_of_the_subprocess_byte_for_byte(tmp_path, cluster):
    """ENG-002."""
    here, there = spectral_bench(tmp_path / "here", seconds=8), spectral_bench(tmp_path / "there", seconds=8)
    SubprocessExecutor().run(
        here.request, engine=here.engine, hand_off=here.hand_off, limits=LIMITS, log_path=here.log_path
    )
    watch = Recorder()
    result = run(there, settings_for(there, cluster), watch=watch)
    assert result.status == "completed"
    assert result.device == "cpu"
    assert len(stems(here)) == 4
    assert stems(there) == stems(here)
    assert watch.told[-1][1] == 1.0
    assert watch.longest_silence_s() <= 1.0
    assert not cluster.pods
    assert not there.hand_off.exists()
    assert "made" in there.log_path.read_text()
