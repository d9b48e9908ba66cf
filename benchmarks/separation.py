"""Measure the built-in engine on the songs with known stems: SDR, residual, real-time factor.

    python -m benchmarks.separation AUDIO/multitrack [--engine spectral] [--json FILE]

Runs the engine as a song does, in a worker behind its guard on one thread. SDR is over the whole excerpt,
all frames and channels, with no scaling or shifting of the estimate; doing nothing (the mixture as the
estimate) stands beside it.
"""

import argparse
import json
import resource
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from ironclad_assets.contracts.v1.engine import AudioFile, EngineRequest, EngineResult
from ironclad_assets.contracts.v1.staged_chunks import Chunk, MixtureStatistics
from ironclad_assets.engine_host.registry import InstalledEngine, find_engines
from ironclad_assets.engine_host.runner import run_engine
from ironclad_assets.sandbox.limits import Limits

STEMS = ("vocals", "drums", "bass", "other")
COLUMNS = (*STEMS, "accompaniment")
GIBIBYTE = 1024**3
CHUNK_S = 10

Audio = NDArray[np.float64]
"""Shape (frames, channels)."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured on one song; decibels, seconds, and processor seconds per second of audio."""

    song: str
    sdr_db: dict[str, float]
    do_nothing_db: dict[str, float]
    residual_db: float
    residual_16_bit_db: float
    real_time_factor: float
    engine_real_time_factor: float
    duration_s: float


def sdr_db(reference: Audio, estimate: Audio) -> float:
    """Return the signal to distortion ratio in dB, as `shared/audio` defines it."""
    return float(10 * np.log10(np.sum(reference**2) / np.sum((reference - estimate) ** 2)))


def level_db(error: Audio, *, against: Audio) -> float:
    """Return the energy of `error` relative to `against` in dB, at least -200."""
    return float(10 * np.log10(max(np.sum(error**2) / np.sum(against**2), 1e-20)))


def measure_song(folder: Path, *, engine: InstalledEngine) -> Figures:
    """Separate the mixture in `folder` and compare with the stems beside it."""
    truth = {name: soundfile.read(folder / f"{name}.flac", dtype="float64")[0] for name in STEMS}
    mixture, rate = soundfile.read(folder / "mixture.flac", dtype="float64")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as scratch:
        stems, result = separate(mixture, rate=rate, engine=engine, scratch=Path(scratch))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    duration_s = len(mixture) / rate
    truth["accompaniment"] = truth["drums"] + truth["bass"] + truth["other"]
    stems["accompaniment"] = stems["drums"] + stems["bass"] + stems["other"]
    rounded = sum(np.round(stems[name] * 32768) / 32768 for name in STEMS)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Figures(
        song=folder.name,
        sdr_db={name: sdr_db(truth[name], stems[name]) for name in COLUMNS},
        do_nothing_db={name: sdr_db(truth[name], mixture) for name in COLUMNS},
        residual_db=level_db(mixture - sum(stems[name] for name in STEMS), against=mixture),
        residual_16_bit_db=level_db(mixture - rounded, against=mixture),
        real_time_factor=cpu_s / duration_s,
        engine_real_time_factor=result.compute_s / duration_s,
        duration_s=duration_s,
    )


def separate(
    mixture: Audio, *, rate: int, engine: InstalledEngine, scratch: Path
) -> tuple[dict[str, Audio], EngineResult]:
    """Return the stems of `mixture` as the engine's worker makes them."""
    path = scratch / "mixture.f32"
    mixture.astype("<f4").tofile(path)
    mono = mixture.mean(axis=1)
    model = engine.manifest.model(None)
    ends = [*range(CHUNK_S * rate, len(mixture), CHUNK_S * rate), len(mixture)]
    starts = [0, *ends[:-1]]
    request = EngineRequest(
        job_uuid="benchmark",
        song="benchmark",
        engine=engine.manifest.name,
        engine_version=engine.manifest.version,
        entry=engine.manifest.entry,
        model=model.name,
        stems=model.stems,
        mixture=AudioFile(path=str(path), sample_rate_hz=rate, channels=2, frames=len(mixture)),
        statistics=MixtureStatistics(
            mean=float(mono.mean()),
            std=float(mono.std(ddof=1)),
            peak=float(np.abs(mixture).max()),
            rms=float(np.sqrt((mixture**2).mean())),
        ),
        chunks=tuple(Chunk(start=start, frames=end - start) for start, end in zip(starts, ends, strict=True)),
        key="0" * 64,
        output_dir=str(scratch),
    )
    limits = Limits(cpu_s=3600, memory_bytes=4 * GIBIBYTE, wall_s=3600)
    hand_off, log_path = scratch / "hand-off", scratch / "worker.log"
    result = run_engine(request, engine=engine, hand_off=hand_off, limits=limits, log_path=log_path)
    stems = {
        each.name: np.fromfile(scratch / each.path, "<f4").reshape(-1, 2).astype(np.float64) for each in result.stems
    }
    return stems, result


def print_table(figures: list[Figures]) -> None:
    """Print a Markdown table of what was measured, with the mean over the songs."""
    print(f"| SDR in dB | {' | '.join(COLUMNS)} |")
    print(f"|---|{'---|' * len(COLUMNS)}")
    for each in figures:
        print(f"| {each.song} | {' | '.join(f'{each.sdr_db[name]:.2f}' for name in COLUMNS)} |")
        print(f"| {each.song}, doing nothing | {' | '.join(f'{each.do_nothing_db[name]:.2f}' for name in COLUMNS)} |")
    means = [sum(each.sdr_db[name] for each in figures) / len(figures) for name in COLUMNS]
    print(f"| **mean** | {' | '.join(f'**{mean:.2f}**' for mean in means)} |")
    print()
    print("| | residual of the float stems | after 16 bits | CPU s per s, whole worker | the engine alone |")
    print("|---|---|---|---|---|")
    for each in figures:
        factors = f"{each.real_time_factor:.3f} | {each.engine_real_time_factor:.3f}"
        print(f"| {each.song} | {each.residual_db:.1f} dB | {each.residual_16_bit_db:.1f} dB | {factors} |")


def main() -> int:
    """Measure every song below the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with one folder per song: mixture.flac and its stems")
    parser.add_argument("--engine", default="spectral", help="engine to measure (default: spectral)")
    parser.add_argument("--engines", type=Path, default=Path("engines"), help="folder in which engines are found")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    engine = find_engines(options.engines)[options.engine]
    songs = sorted(path.parent for path in options.folder.glob("*/mixture.flac"))
    figures = [measure_song(song, engine=engine) for song in songs]
    print_table(figures)
    if options.json is not None:
        values = [{name: getattr(each, name) for name in Figures.__slots__} for each in figures]
        options.json.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
