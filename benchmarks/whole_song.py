"""Measure a whole song with Demucs or Spleeter, from its rename into the upload folder to the library.

    python -m benchmarks.whole_song demucs|spleeter [--seconds 180] [--executor warm] [--songs 2]

The running system with full-size networks of random weights, one song after the other; with `--executor warm` the
first one loads the model and the others find it loaded. Prints the seconds of each stage as the ledger has them.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.engines import CONTESTS, Bench, make_bench
from benchmarks.installation import ENGINES, Installation, machine, running_installation, tool
from ironclad_assets.contracts.v1.job import Job
from ironclad_assets.settings import load_settings

TIMEOUT_S = 3600.0


def install(bench: Bench, *, engines: Path) -> None:
    """Put the engine into the folder `engines`, with a catalogue of its random weights, and import those."""
    engine, models = bench.engine, engines.parent / "models"
    folder = engines / engine.manifest.name
    shutil.copytree(engine.folder, folder, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    (engines / "_harness").symlink_to(ENGINES / "_harness")
    random = next(model.weights for model in engine.manifest.models if model.name == bench.contest.model)
    names = {model.weights for model in engine.manifest.models if model.weights} - {random}
    entries = [_entry(str(random), files=[file.name for file in bench.weights])]
    entries += [_entry(str(name), files=[f"{name}.none"]) for name in sorted(names, key=str)]
    (folder / "models.toml").write_text("".join(entries), encoding="utf-8")
    subprocess.run(
        [
            *(tool("pipelinectl"), "models", "import", str(bench.scratch / "models")),
            *("--engine", engine.manifest.name, "--model", bench.contest.model),
        ],
        env={
            **os.environ,
            "IRONCLAD_HOME": str(engines.parent / "home"),
            "IRONCLAD_ENGINES_PATH": str(engines),
            "IRONCLAD_MODELS_PATH": str(models),
        },
        stdout=sys.stderr,
        check=True,
        timeout=TIMEOUT_S,
    )


def _entry(weights: str, *, files: Sequence[str]) -> str:
    """Return what a catalogue says of `weights`, made of `files` that nobody publishes."""
    heading = f'[[weights]]\nname = "{weights}"\nlicence = "none: random numbers"\nsource = "https://localhost"\n'
    return heading + "".join(
        f'[[weights.files]]\nname = "{name}"\nurls = ["https://localhost/{name}"]\n' for name in files
    )


def measure(installation: Installation, *, number: int, seconds: float) -> tuple[float, Job]:
    """Drop a song and wait for it; return the seconds from its rename to the end of its job, and the job."""
    song = installation.prepare_song(number, seconds=seconds)
    dropped_at = installation.drop(song)
    installation.await_completed(number, timeout_s=TIMEOUT_S)
    return time.time() - dropped_at, installation.ledger.jobs(limit=1)[0]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=sorted(CONTESTS))
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--songs", type=int, default=2)
    parser.add_argument("--executor", choices=["subprocess", "warm"], default="subprocess")
    options = parser.parse_args()
    contest = CONTESTS[options.engine]
    environments = load_settings().environments_dir
    table = Table(title=f"{options.seconds:.0f} s of music, {contest.engine} {contest.model}, {options.executor}")
    table.add_column("song", justify="right")
    table.add_column("drop to library, s", justify="right")
    table.add_column("stages, s")
    with tempfile.TemporaryDirectory(prefix="ironclad-song-") as scratch:
        bench = make_bench(contest, scratch=Path(scratch), small=False, threads=os.cpu_count() or 1)
        with running_installation(
            lambda engines: install(bench, engines=engines),
            default_engine=contest.engine,
            environments_path=environments,
            executor=options.executor,
        ) as installation:
            for number in range(1, options.songs + 1):
                took_s, job = measure(installation, number=number, seconds=options.seconds)
                stages = ", ".join(f"{one.stage} {one.seconds or 0.0:.1f}" for one in job.stages)
                table.add_row(str(number), f"{took_s:.1f}", stages)
    Console().print(table)
    Console().print(machine())
    return 0


if __name__ == "__main__":
    sys.exit(main())
