"""One engine worker on one piece of raw audio, watched: what it computed, cost and held. For the benchmarks.

The worker is started as in production, by the engine host, behind its guard; nothing of Dagster or the stages.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.memory import anonymous_bytes
from ironclad_assets.contracts.v1.engine import AudioFile, EngineRequest, EngineResult, ModelFile, Parameter
from ironclad_assets.contracts.v1.staged_chunks import Chunk, MixtureStatistics
from ironclad_assets.engine_host.registry import InstalledEngine
from ironclad_assets.engine_host.runner import run_engine
from ironclad_assets.sandbox.limits import Limits

RATE_HZ = 44100
CHANNELS = 2
CHUNK_S = 30
BLOCK_S = 10
SAMPLE_S = 0.25
GIBIBYTE = 1024**3
ROOMY = Limits(
    cpu_s=1e6, memory_bytes=20 * GIBIBYTE, wall_s=1e6, file_bytes=200 * GIBIBYTE, open_files=1024, stall_s=900
)

Run = Callable[[EngineRequest], EngineResult]


@dataclass(frozen=True, slots=True)
class Mixture:
    """Raw stereo float32 at 44.1 kHz on disk, with the statistics that a request carries."""

    path: Path
    frames: int
    statistics: MixtureStatistics

    def read(self) -> NDArray[np.float32]:
        """Return the audio, shape (channels, frames)."""
        return np.fromfile(self.path, dtype="<f4").reshape(-1, CHANNELS).T


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run of a worker came to.

    `curve` is its anonymous memory over time: seconds since the start, bytes. `longest_silence_s` is the
    longest time between two reports of progress.
    """

    result: EngineResult
    wall_s: float
    curve: Sequence[tuple[float, int]]
    longest_silence_s: float

    @property
    def peak_bytes(self) -> int:
        return max(held for _, held in self.curve)


def make_mixture(path: Path, *, seconds: float, seed: int = 1) -> Mixture:
    """Write noise with a beat, block by block, so that hours need no memory."""
    rng = np.random.default_rng(seed)
    frames, total, squares, values = int(seconds * RATE_HZ), 0.0, 0.0, 0
    peak, energy = 0.0, 0.0
    with path.open("wb") as stream:
        for start in range(0, frames, BLOCK_S * RATE_HZ):
            count = min(BLOCK_S * RATE_HZ, frames - start)
            time_s = (start + np.arange(count)) / RATE_HZ
            beat = (0.02 + 0.2 * np.exp(-8 * (time_s % 0.5)))[:, np.newaxis]
            y = (rng.standard_normal((count, CHANNELS)) * beat).astype("<f4")
            stream.write(y.tobytes())
            wide = y.astype(np.float64)
            mono = wide.mean(axis=1)
            total, squares, values = total + mono.sum(), squares + mono @ mono, values + count
            peak, energy = max(peak, float(np.abs(y).max())), energy + float((wide**2).sum())
    mean = total / values
    spread = max(0.0, squares - values * mean * mean) / max(1, values - 1)
    statistics = MixtureStatistics(mean=mean, std=spread**0.5, peak=peak, rms=(energy / (values * CHANNELS)) ** 0.5)
    return Mixture(path, frames, statistics)


def make_request(
    mixture: Mixture,
    *,
    engine: InstalledEngine,
    model: str,
    model_files: Sequence[ModelFile],
    output: Path,
    threads: int,
    parameters: Mapping[str, Parameter] | None = None,
    device: str = "cpu",
) -> EngineRequest:
    """Return the request that a song of this audio would become."""
    output.mkdir(parents=True)
    chosen = engine.manifest.model(model)
    step = CHUNK_S * RATE_HZ
    defaults = {
        name: spec.default
        for name, spec in engine.manifest.parameters.items()
        if not spec.models or chosen.name in spec.models
    }
    return EngineRequest(
        job_uuid="benchmark",
        song="benchmark",
        engine=engine.manifest.name,
        engine_version=engine.manifest.version,
        entry=chosen.entry or engine.manifest.entry,
        model=chosen.name,
        stems=chosen.stems,
        parameters=defaults | dict(parameters or {}),
        mixture=AudioFile(path=str(mixture.path), sample_rate_hz=RATE_HZ, channels=CHANNELS, frames=mixture.frames),
        statistics=mixture.statistics,
        chunks=tuple(
            Chunk(start=start, frames=min(step, mixture.frames - start)) for start in range(0, mixture.frames, step)
        ),
        key=output.name,
        output_dir=str(output),
        device=device,
        threads=threads,
        model_files=tuple(model_files),
    )


@dataclass(slots=True)
class _Watch:
    """Keeps the longest silence between two reports, from the start of the work on."""

    longest_s: float = 0.0
    last: float = field(default_factory=time.monotonic)

    def progress(self, _fraction: float, _message: str) -> None:
        now = time.monotonic()
        self.longest_s, self.last = max(self.longest_s, now - self.last), now

    def canceled(self) -> bool:
        return False


def run_watched(request: EngineRequest, *, engine: InstalledEngine, scratch: Path) -> Measured:
    """Run a worker for `request`; read its memory four times a second."""
    watch, curve = _Watch(), [(0.0, 0)]
    began, ended = time.monotonic(), threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLE_S):
            curve.append((time.monotonic() - began, worker_bytes()))

    sampler = threading.Thread(target=sample, name="memory-sampler", daemon=True)
    sampler.start()
    try:
        result = run_engine(
            request,
            engine=engine,
            hand_off=scratch / f"hand-off-{request.key}",
            limits=ROOMY,
            log_path=scratch / f"{request.key}.log",
            watch=watch,
        )
    finally:
        ended.set()
        sampler.join()
    return Measured(result, time.monotonic() - began, curve, watch.longest_s)


def worker_bytes() -> int:
    """Return the anonymous memory of the workers below this process."""
    held = 0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error, OSError):
            if "ironclad_harness" in " ".join(process.cmdline()):
                held += anonymous_bytes(process.pid)
    return held


def read_stems(request: EngineRequest) -> NDArray[np.float32]:
    """Return the stems of a finished request, shape (stems, channels, frames)."""
    files = [Path(request.output_dir) / f"{stem}.f32" for stem in request.stems]
    return np.stack([np.fromfile(file, dtype="<f4").reshape(-1, CHANNELS).T for file in files])


def relative_error(found: NDArray[np.float32], *, expected: NDArray[np.float32]) -> float:
    """Return the RMS of the difference relative to the RMS of `expected`."""
    difference = found.astype(np.float64) - expected
    return float(np.sqrt((difference**2).sum() / max((expected.astype(np.float64) ** 2).sum(), 1e-30)))
