"""Measure that memory does not grow with the length of a song: the peak of every process, for two lengths.

    python -m benchmarks.memory [--seconds 600 10800] [--json FILE]

For each length a song is synthesised and taken through intake, validation, tags, staging, separation by the built-in
engine and recombination, without Dagster, in a process of its own. Meanwhile this process reads, every 50 ms, the
**anonymous memory** (RssAnon + RssShmem of /proc/PID/status: what the kernel cannot take back) of that process and
of everything below it, and keeps the peak of each kind: media children by their stage, guard, engine worker, and the
run itself. Three hours need about 35 GB of disk and half an hour.
"""

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.installation import ENGINES, BenchmarkError, machine
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.intake.upload import take_file
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.pipeline.policy import Policy
from ironclad_assets.pipeline.recombine import recombine
from ironclad_assets.pipeline.separate import separate
from ironclad_assets.pipeline.stage import stage_song
from ironclad_assets.pipeline.tag import read_metadata
from ironclad_assets.pipeline.validate import validate_file
from ironclad_assets.resources.engines import Engines
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.sandbox.task import run_task
from ironclad_assets.sandbox.watch import SilentWatch
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store

TARGET_RATIO = 1.1
SLACK_BYTES = 2 * 1024**2
"""Growth that is no growth: the child that reads tags lives 0.3 s and is seen a few times only, never at the same
points; two songs of equal length gave 10.0 and 8.7 MiB."""

SAMPLE_S = 0.05
MEBIBYTE = 1024**2
BYTES_PER_SECOND = 44100 * 2 * 4
FILES_PER_SONG = 9
"""Disk needed in multiples of the raw float32 song: mixture, four stems, and what is compressed, generously."""

OPTION = "--take-through"
RUN, GUARD, WORKER = "run process", "engine guard", "engine worker"


class PeakSampler:
    """Reads the memory of a process and its descendants from a thread, and keeps the peak of each kind.

    `label` is what media children are called that appear from now on.
    """

    def __init__(self, pid: int) -> None:
        self.label = ""
        self.peaks: dict[str, int] = {}
        self._root = psutil.Process(pid)
        self._kinds: dict[tuple[int, float], str] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="peak-sampler", daemon=True)

    @contextmanager
    def running(self) -> Iterator["PeakSampler"]:
        self._thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_S):
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in (self._root, *self._root.children(recursive=True)):
                    self._look_at(process)

    def _look_at(self, process: psutil.Process) -> None:
        with contextlib.suppress(psutil.NoSuchProcess, OSError):
            identity = (process.pid, process.create_time())
            command = " ".join(process.cmdline())
            if not command or (process.pid != self._root.pid and OPTION in command):
                return  # it has ended, or is a copy of the run about to become something else
            kind = self._kinds.get(identity)
            if kind is None or (kind == GUARD and "ironclad_harness" in command and "sandbox.guard" not in command):
                kind = self._kinds[identity] = self._classify(process, command)
            self.peaks[kind] = max(self.peaks.get(kind, 0), anonymous_bytes(process.pid))

    def _classify(self, process: psutil.Process, command: str) -> str:
        if process.pid == self._root.pid:
            return RUN
        if "sandbox.guard" in command:
            return GUARD
        return WORKER if "ironclad_harness" in command else f"media child: {self.label}"


def anonymous_bytes(pid: int) -> int:
    """Return RssAnon + RssShmem of a process in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("RssAnon:", "RssShmem:")))


def measure(seconds: float, *, console: Console) -> dict[str, int]:
    """Take a song of this length through the rooms; return the peak bytes of each kind of process."""
    with tempfile.TemporaryDirectory(prefix="ironclad-memory-") as scratch:
        needed = int(seconds * BYTES_PER_SECOND * FILES_PER_SONG)
        free = shutil.disk_usage(scratch).free
        if free < needed:
            raise BenchmarkError(
                f"{seconds:.0f} s need {needed / 1e9:.0f} GB in {scratch}; {free / 1e9:.0f} GB are free"
            )
        song = Path(scratch) / "song.flac"
        synthesise(song, seconds=seconds)
        command = [sys.executable, "-m", "benchmarks.memory", OPTION, str(song)]
        began = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        try:
            with PeakSampler(process.pid).running() as sampler:
                for line in process.stdout or ():
                    sampler.label = line.strip()
                    console.print(f"{time.monotonic() - began:7.1f} s  {sampler.label}", style="dim")
                if process.wait(60.0):
                    raise BenchmarkError(f"the song of {seconds:.0f} s failed; see above")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(60.0)
        return sampler.peaks


def synthesise(path: Path, *, seconds: float) -> None:
    """Write the song in a child, as the demo does."""
    run_task(
        "ironclad_assets.audio.synthesis:synthesise_long",
        arguments={"path": str(path), "seconds": seconds},
        limits=Limits(cpu_s=120 + seconds, memory_bytes=1024 * MEBIBYTE, wall_s=600 + 10 * seconds),
        writable=[path.parent],
    )


def take_through(path: Path) -> None:
    """Take a song through every room but the library, naming each on standard output as it begins."""
    settings = Settings(home=path.parent / "home", engines_path=ENGINES, disk_reserve_bytes=MEBIBYTE)
    store = Store(settings.store_root, reserve_bytes=settings.disk_reserve_bytes)
    store.create()
    ledger = Ledger(settings.ledger_url)
    ledger.migrate()
    policy, options = Policy.from_settings(settings), JobOptions()
    _begin("intake")
    job = take_file(
        path, ledger=ledger, store=store, settings=settings, user_id="local", options=options, door="benchmark",
        actor="benchmark",
    ).job  # fmt: skip
    _begin("validate")
    validated = validate_file(ledger.song(job.song), store=store, policy=policy, watch=SilentWatch())
    work = {name: _folder(path.parent / name) for name in ("tags", "staged", "stems", "tracks")}
    _begin("tags")
    metadata = read_metadata(validated, store=store, work=work["tags"])
    _begin("stage")
    engines = Engines(settings)
    chosen = engines.choose(options)
    choice = chosen.engine
    staged = stage_song(validated, choice=choice, model=chosen.model, store=store, work=work["staged"], policy=policy)
    _begin("separate")
    duration_s = staged.mixture.duration_s
    separation = separate(
        staged,
        staged_folder=work["staged"],
        work=work["stems"],
        key="0" * 64,
        job_uuid=job.job_uuid,
        song=job.song,
        conditions=engines.conditions(choice),
        run=engines.runner(
            choice.engine,
            hand_off=path.parent / "hand-off",
            log_path=path.parent / "engine.log",
            duration_s=duration_s,
            watch=SilentWatch(),
        ),
        limits=policy.media_limits(duration_s=duration_s * (1 + len(choice.stems))),
        watch=SilentWatch(),
    )
    _begin("recombine")
    recombine(
        separation.stems,
        stems_folder=work["stems"],
        staged=staged,
        staged_folder=work["staged"],
        metadata=metadata,
        metadata_folder=work["tags"],
        validated=validated,
        options=options,
        work=work["tracks"],
    )
    ledger.close()


def _begin(stage: str) -> None:
    print(stage, flush=True)


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def grows(shorter: int, longer: int) -> bool:
    """Return whether the peak bytes of a longer song are more than chance explains."""
    return longer > TARGET_RATIO * shorter and longer - shorter > SLACK_BYTES


def draw(peaks: Sequence[dict[str, int]], *, seconds: Sequence[float], console: Console) -> None:
    """Print the peaks of both lengths and their ratio."""
    table = Table(title=f"Peak anonymous memory in MiB; {machine()}", title_justify="left")
    table.add_column("process")
    for length in seconds:
        table.add_column(f"{length / 60:.3g} min", justify="right")
    table.add_column(f"ratio (target <= {TARGET_RATIO})", justify="right")
    for kind in peaks[0]:
        values = [one.get(kind, 0) for one in peaks]
        table.add_row(kind, *(f"{value / MEBIBYTE:.1f}" for value in values), f"{values[1] / values[0]:.3f}")
    console.print(table)


def as_json(peaks: Sequence[dict[str, int]], *, seconds: Sequence[float]) -> dict[str, Any]:
    """Return every figure, JSON values."""
    measured = [{"seconds": length, "peak_bytes": one} for length, one in zip(seconds, peaks, strict=True)]
    return {"at": time.strftime("%Y-%m-%d %H:%M:%S"), "machine": machine(), "songs": measured}


def main() -> int:
    """Measure two lengths and print; return 1 where a process grew with the song."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, nargs=2, default=[600.0, 10800.0], help="lengths (default: 600 10800)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument(OPTION, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.take_through is not None:
        take_through(options.take_through)
        return 0
    console = Console()
    peaks = [measure(seconds, console=console) for seconds in options.seconds]
    draw(peaks, seconds=options.seconds, console=console)
    if options.json is not None:
        options.json.write_text(json.dumps(as_json(peaks, seconds=options.seconds), indent=1) + "\n", encoding="utf-8")
    grown = [kind for kind, peak in peaks[0].items() if grows(peak, peaks[1].get(kind, 0))]
    if grown:
        console.print(f"grows with the song: {', '.join(grown)}")
    return int(bool(grown))


if __name__ == "__main__":
    sys.exit(main())
