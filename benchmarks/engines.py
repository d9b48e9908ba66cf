"""Measure Demucs and Spleeter as engines against the packages they come from: speed, error, memory, cold and warm.

    python -m benchmarks.engines speed demucs|spleeter [--seconds 60] [--rounds 3] [--threads 2]
    python -m benchmarks.engines memory demucs|spleeter [--seconds 60 3600] [--picture FILE.svg]
    python -m benchmarks.engines start demucs|spleeter

All with random weights made here, which cost what trained ones do: full-size networks for `speed` and `start`, small
ones for `memory`. Needs the engines' environments (`pipelinectl engines install demucs spleeter`).

`speed` alternates engine and package, `--rounds` times, each in a process of its own, and takes the medians; the ratio
is of processor seconds, separation alone, models loaded. Demucs' package runs as its command line does; Spleeter's is
warm. `memory` keeps the anonymous memory of the worker, four times a second. `start` separates 10 s in a new worker
and twice in a warm one, and shows what is left of the loading.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.curves import draw_curves
from benchmarks.installation import ENGINES, BenchmarkError, machine
from benchmarks.warm import WarmService
from benchmarks.workers import (
    Measured,
    Mixture,
    make_mixture,
    make_request,
    read_stems,
    relative_error,
    run_watched,
)
from ironclad_assets.contracts.v1.engine import EngineRequest, ModelFile
from ironclad_assets.engine_host.registry import InstalledEngine, find_engines
from ironclad_assets.settings import load_settings

HERE = Path(__file__).resolve().parent
MEBIBYTE = 1024**2
MEMORY_TARGET = 1.05
TIMEOUT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Contest:
    """An engine, its model, and what it has to reach against the package."""

    engine: str
    model: str
    ratio: float
    error: float


CONTESTS = {
    "demucs": Contest(engine="demucs", model="htdemucs", ratio=1.2, error=1e-6),
    "spleeter": Contest(engine="spleeter", model="4stems", ratio=2.5, error=1e-4),
}


@dataclass(frozen=True, slots=True)
class Bench:
    """What all measurements of one engine share. `weights` are the files of its model."""

    contest: Contest
    engine: InstalledEngine
    scratch: Path
    weights: tuple[ModelFile, ...]
    threads: int

    def request(self, mixture: Mixture, *, name: str) -> EngineRequest:
        """Return a request that writes to a new folder called `name`."""
        return make_request(
            mixture,
            engine=self.engine,
            model=self.contest.model,
            model_files=self.weights,
            output=self.scratch / name,
            threads=self.threads,
        )

    def run(self, mixture: Mixture, *, name: str) -> tuple[EngineRequest, Measured]:
        """Separate `mixture` in a new worker."""
        request = self.request(mixture, name=name)
        return request, run_watched(request, engine=self.engine, scratch=self.scratch)


def make_bench(contest: Contest, *, scratch: Path, small: bool, threads: int) -> Bench:
    """Make the model in `scratch` and return the bench.

    Raises:
        IroncladError: `ENGINE_UNAVAILABLE`: an environment is missing.
    """
    engine = find_engines(ENGINES, environments=load_settings().environments_dir)[contest.engine]
    make = {"demucs": _make_demucs, "spleeter": _make_spleeter}[contest.engine]
    folder = scratch / "models"
    files = make(engine, contest.model, folder, small)
    return Bench(contest, engine, scratch, files, threads)


def _make_demucs(engine: InstalledEngine, model: str, folder: Path, small: bool) -> tuple[ModelFile, ...]:
    folder.mkdir()
    command = [str(engine.python(model)), str(HERE / "demucs_models.py"), model, str(folder)]
    _call([*command, *(["--small"] if small else [])])
    return tuple(_model_file(path, name=path.name) for path in sorted(folder.iterdir()))


def _make_spleeter(engine: InstalledEngine, model: str, folder: Path, small: bool) -> tuple[ModelFile, ...]:
    python = str(engine.python(f"{model}-reference"))
    filters = ["--filters", "4,4,8,8,8,8"] if small else []
    _call([python, str(HERE / "spleeter_models.py"), "--output", str(folder), "--model", model, *filters])
    derived = folder / f"{model}.safetensors"
    extract = ["-m", "ironclad_spleeter.extract", "--source", str(folder), "--weights", model]
    import_path = os.pathsep.join(map(str, engine.import_path()))
    _call([python, *extract, "--output", str(derived)], PYTHONPATH=import_path)
    return (_model_file(derived, name=derived.name),)


def _model_file(path: Path, *, name: str) -> ModelFile:
    content = path.read_bytes()
    return ModelFile(name=name, path=str(path), size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def _call(command: Sequence[str], **environment: str) -> str:
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )
    if done.returncode:
        raise BenchmarkError(f"{' '.join(command[:3])} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def run_package(bench: Bench, *, mixture: Mixture) -> tuple[dict[str, Any], Path]:  # a JSON object
    """Separate with the package; return its figures and the file of its stems."""
    name, model = bench.contest.engine, bench.contest.model
    output = bench.scratch / "package.npy"
    reference = model if name == "demucs" else f"{model}-reference"
    models = "--repo" if name == "demucs" else "--models"
    printed = _call(
        [
            str(bench.engine.python(reference)),
            str(HERE / "packages" / f"{name}_package.py"),
            *(models, str(bench.scratch / "models"), "--model", model, "--mixture", str(mixture.path)),
            *("--output", str(output), "--threads", str(bench.threads)),
        ],
        OMP_NUM_THREADS=str(bench.threads),
    )
    figures: dict[str, Any] = json.loads(printed.strip().splitlines()[-1])
    return figures, output


def measure_speed(bench: Bench, *, seconds: float, rounds: int, console: Console) -> dict[str, Any]:  # a JSON object
    """Alternate engine and package; return the figures."""
    mixture = make_mixture(bench.scratch / "mixture.f32", seconds=seconds)
    ours: list[Measured] = []
    theirs: list[dict[str, Any]] = []
    errors: list[float] = []
    for number in range(rounds):
        request, measured = bench.run(mixture, name=f"speed-{number}")
        figures, output = run_package(bench, mixture=mixture)
        ours.append(measured)
        theirs.append(figures)
        order = [figures["stems"].index(stem) for stem in request.stems]
        errors.append(relative_error(read_stems(request), expected=np.load(output)[order]))
        console.print(
            f"round {number + 1}: engine {measured.result.compute_s:.1f} CPU s, package {figures['cpu_s']:.1f} CPU s, "
            f"error {errors[-1]:.1e}",
            style="dim",
        )
    engine_cpu_s = statistics.median(one.result.compute_s for one in ours)
    package_cpu_s = statistics.median(one["cpu_s"] for one in theirs)
    return {
        "seconds": seconds,
        "threads": bench.threads,
        "engine_cpu_s": engine_cpu_s,
        "package_cpu_s": package_cpu_s,
        "ratio": package_cpu_s / engine_cpu_s,
        "engine_separation_wall_s": statistics.median(one.wall_s - one.result.load_s for one in ours),
        "package_separation_wall_s": statistics.median(one["wall_s"] for one in theirs),
        "engine_wall_s": statistics.median(one.wall_s for one in ours),
        "engine_peak_mib": max(one.peak_bytes for one in ours) / MEBIBYTE,
        "package_peak_mib": max(one["peak_rss_bytes"] for one in theirs) / MEBIBYTE,
        "longest_silence_s": max(one.longest_silence_s for one in ours),
        "error": max(errors),
        "reached": package_cpu_s / engine_cpu_s >= bench.contest.ratio and max(errors) < bench.contest.error,
    }


def measure_memory(
    bench: Bench, *, seconds: Sequence[float], picture: Path | None, console: Console
) -> dict[str, Any]:  # a JSON object
    """Separate songs of several lengths; return the peaks, and draw them."""
    curves, peaks = {}, []
    for length in seconds:
        mixture = make_mixture(bench.scratch / "mixture.f32", seconds=length)
        request, measured = bench.run(mixture, name=f"memory-{length:.0f}")
        for stem in request.stems:
            (Path(request.output_dir) / f"{stem}.f32").unlink()
        curves[f"{length / 60:.3g} min"] = measured.curve
        peaks.append(measured.peak_bytes)
        console.print(
            f"{length / 60:.3g} min: peak {measured.peak_bytes / MEBIBYTE:.1f} MiB, {measured.wall_s:.0f} s",
            style="dim",
        )
    if picture is not None:
        title = f"{bench.contest.engine}: anonymous memory of the worker, small model"
        picture.write_text(draw_curves(curves, title=title), encoding="utf-8")
    ratio = max(peaks) / min(peaks)
    return {
        "seconds": list(seconds),
        "peak_mib": [peak / MEBIBYTE for peak in peaks],
        "ratio": ratio,
        "reached": ratio <= MEMORY_TARGET,
    }


def measure_start(bench: Bench) -> dict[str, Any]:  # a JSON object
    """Separate ten seconds cold and twice warm; return the wall seconds of each and of loading."""
    mixture = make_mixture(bench.scratch / "mixture.f32", seconds=10.0)
    _, cold = bench.run(mixture, name="cold")
    found: dict[str, Any] = {"cold_s": cold.wall_s, "cold_load_s": cold.result.load_s}
    with WarmService(load_settings(), folder=bench.scratch / "warm", threads=bench.threads) as service:
        for name in ("first", "warm"):
            request = bench.request(mixture, name=f"service-{name}")
            began = time.monotonic()
            result = service.run(request, engine=bench.engine)
            found |= {
                f"{name}_s": time.monotonic() - began,
                f"{name}_load_s": result.load_s,
                f"{name}_warm": result.warm,
            }
    found["reached"] = bool(found["warm_warm"])
    return found


def draw(figures: dict[str, Any], *, title: str, console: Console) -> None:
    """Print the figures as a table."""
    table = Table(title=f"{title}; {machine()}", title_justify="left")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), _spell(value))
    console.print(table)


def _spell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_spell, value))
    if isinstance(value, float):
        return f"{value:.1e}" if 0 < value < 0.001 else f"{value:.2f}"
    return str(value)


def main() -> int:
    """Measure and print; return 1 where a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "memory", "start"])
    parser.add_argument("engine", choices=sorted(CONTESTS))
    parser.add_argument("--seconds", type=float, nargs="+", help="length, or lengths, of the audio")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--picture", type=Path, help="where `memory` draws its curves (SVG)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    console, contest = Console(), CONTESTS[options.engine]
    with tempfile.TemporaryDirectory(prefix="ironclad-engines-") as scratch:
        bench = make_bench(contest, scratch=Path(scratch), small=options.what == "memory", threads=options.threads)
        measure: dict[str, Callable[[], dict[str, Any]]] = {
            "speed": lambda: measure_speed(
                bench, seconds=(options.seconds or [60.0])[0], rounds=options.rounds, console=console
            ),
            "memory": lambda: measure_memory(
                bench, seconds=options.seconds or [60.0, 3600.0], picture=options.picture, console=console
            ),
            "start": lambda: measure_start(bench),
        }
        figures = measure[options.what]()
    draw(figures, title=f"{options.what} of {contest.engine} {contest.model}", console=console)
    if options.json is not None:
        said = {"at": time.strftime("%Y-%m-%d %H:%M:%S"), "machine": machine(), **asdict(contest), **figures}
        options.json.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    return int(not figures["reached"])


if __name__ == "__main__":
    sys.exit(main())
