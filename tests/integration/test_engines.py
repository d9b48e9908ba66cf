"""Real engines through the real runner: quality on music with known stems, flat memory, exact resume."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.separation import COLUMNS, Figures, measure_song
from ironclad_assets.contracts.v1.engine import AudioFile, EngineRequest
from ironclad_assets.contracts.v1.staged_chunks import Chunk, MixtureStatistics
from ironclad_assets.engine_host.registry import InstalledEngine, find_engines
from ironclad_assets.engine_host.runner import run_engine
from ironclad_assets.sandbox.limits import Limits

ROOT = Path(__file__).resolve().parents[2]
MULTITRACK = ROOT.parent / "shared" / "audio" / "multitrack"
RATE = 44_100
LIMITS = Limits(cpu_s=600, memory_bytes=1024**3, wall_s=600, stall_s=60)


@pytest.fixture
def spectral() -> InstalledEngine:
    return find_engines(ROOT / "engines")["spectral"]


def make_request(folder: Path, *, engine: InstalledEngine, seconds: float) -> EngineRequest:
    """Return a request for `seconds` of noise with a beat, in chunks of ten seconds."""
    (folder / "out").mkdir(parents=True)
    frames = int(seconds * RATE)
    rng = np.random.default_rng(0)
    with (folder / "mixture.f32").open("wb") as stream:
        for start in range(0, frames, RATE):
            block = (
                rng.normal(0, 0.1, (min(RATE, frames - start), 2))
                * np.exp(-np.arange(RATE) / 9000)[:, None][: frames - start]
            )
            stream.write(block.astype("<f4").tobytes())
    model, step = engine.manifest.model(None), 10 * RATE
    return EngineRequest(
        job_uuid="job",
        song="song",
        engine=engine.manifest.name,
        engine_version=engine.manifest.version,
        entry=engine.manifest.entry,
        model=model.name,
        stems=model.stems,
        mixture=AudioFile(path=str(folder / "mixture.f32"), sample_rate_hz=RATE, channels=2, frames=frames),
        statistics=MixtureStatistics(mean=0.0, std=0.05, peak=0.5, rms=0.05),
        chunks=tuple(Chunk(start=at, frames=min(step, frames - at)) for at in range(0, frames, step)),
        key="k" * 64,
        output_dir=str(folder / "out"),
    )


@pytest.mark.skipif(not MULTITRACK.is_dir(), reason="the songs with known stems are not beside the checkout")
@pytest.mark.parametrize("song", ["Lithium", "Sodium"])
def test_spectral_beats_silence_doing_nothing_and_a_naive_probe(song: str, spectral: InstalledEngine) -> None:
    figures = measure_song(MULTITRACK / song, engine=spectral)
    assert_quality(figures)
    assert figures.residual_db < -90
    assert figures.residual_16_bit_db < -70
    assert figures.engine_real_time_factor < 0.5, "about 0.04 on an idle core"


def assert_quality(figures: Figures) -> None:
    """Assert what the built-in engine promises, a little below what it reached when it was made."""
    floors = {"vocals": 4.0, "drums": 6.0, "bass": 5.0, "other": 0.0, "accompaniment": 7.0}
    for name in COLUMNS:
        assert figures.sdr_db[name] > floors[name], name
        assert figures.sdr_db[name] > figures.do_nothing_db[name] + 3, name


_MEASURED = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "ironclad_harness", "--request", sys.argv[1]], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak_kib(request: EngineRequest, *, folder: Path, engine: InstalledEngine) -> int:
    (folder / "request.json").write_text(request.model_dump_json(), encoding="utf-8")
    path = ":".join(str(each) for each in engine.import_path())
    command = [sys.executable, "-c", _MEASURED, str(folder / "request.json")]
    output = subprocess.run(
        command, env={"PYTHONPATH": path}, capture_output=True, text=True, check=True, timeout=300
    ).stdout
    return int(output)


@pytest.mark.long
def test_memory_is_the_same_for_a_song_five_times_as_long(tmp_path: Path, spectral: InstalledEngine) -> None:
    """SPLIT-009. Both lengths divide into windows of the same length, which is what memory depends on."""
    peaks = []
    for seconds in (74, 374):
        folder = tmp_path / str(seconds)
        request = make_request(folder, engine=spectral, seconds=seconds)
        peaks.append(peak_kib(request, folder=folder, engine=spectral))
    assert peaks[1] < 1.1 * peaks[0]


class Killer:
    """Kills the worker, not its guard, once it has reported `windows` windows; then leaves it alone."""

    def __init__(self, folder: Path, *, after: float) -> None:
        self.folder, self.after = folder, after
        self.killed = False

    def progress(self, fraction: float, message: str) -> None:
        if not self.killed and fraction >= self.after:
            self.killed = kill_worker(self.folder)

    def canceled(self) -> bool:
        return False


def kill_worker(folder: Path) -> bool:
    listing = subprocess.run(["ps", "-ww", "-eo", "pid,args"], capture_output=True, text=True, check=True, timeout=10)
    for line in listing.stdout.splitlines():
        if str(folder) in line and "ironclad_harness" in line and "guard" not in line:
            subprocess.run(["kill", f"-{signal.SIGKILL.value}", line.split()[0]], check=False, timeout=10)
            return True
    return False


def test_a_killed_worker_resumes_to_the_same_bytes(tmp_path: Path, spectral: InstalledEngine) -> None:
    """SPLIT-008, through the runner."""
    outputs = []
    for name, after in (("undisturbed", None), ("killed", 0.4)):
        folder = tmp_path / name
        request = make_request(folder, engine=spectral, seconds=70)
        arguments = {"engine": spectral, "hand_off": folder / "in", "limits": LIMITS, "log_path": folder / "log"}
        if after is not None:
            with pytest.raises(Exception, match="killed by the system"):
                run_engine(request, **arguments, watch=Killer(folder, after=after))
        result = run_engine(request, **arguments)
        outputs.append({path.name: path.read_bytes() for path in (folder / "out").glob("*.f32")})
    assert outputs[0] == outputs[1]
    assert result.resumed_chunks >= 1
    assert result.resumed_chunks + result.computed_chunks == 7


def test_progress_is_heard_every_second(tmp_path: Path, spectral: InstalledEngine) -> None:
    """ENG-003."""
    request = make_request(tmp_path, engine=spectral, seconds=40)
    times = [time.monotonic()]

    class Listen:
        def progress(self, fraction: float, message: str) -> None:
            times.append(time.monotonic())

        def canceled(self) -> bool:
            return False

    run_engine(
        request, engine=spectral, hand_off=tmp_path / "in", limits=LIMITS, log_path=tmp_path / "log", watch=Listen()
    )
    assert max(np.diff(times)) < 1.5


def test_the_log_says_what_was_done(tmp_path: Path, spectral: InstalledEngine) -> None:
    request = make_request(tmp_path, engine=spectral, seconds=2)
    run_engine(request, engine=spectral, hand_off=tmp_path / "in", limits=LIMITS, log_path=tmp_path / "logs" / "log")
    log = (tmp_path / "logs" / "log").read_text(encoding="utf-8")
    assert log.startswith("engine=spectral version=1.0.0 model=spectral song=song job_uuid=job key=kkk")
    assert f"handed_over={tmp_path / 'in' / 'request.json'} sha256=" in log
    assert not (tmp_path / "in").exists()
