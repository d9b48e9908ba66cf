"""Measure what the delivered files cost: one encoder after the other, several at once, and quality against time.

    python -m benchmarks.encoding [--minutes 3] [--tracks 5] [--rounds 3] [--json FILE]
    python -m benchmarks.encoding --quality AUDIO/multitrack

The first renders tracks of music as the room `recombine` does (mix, encode, measure, tag, verify), alternating
between one thread and as many as there are cores; MP3 also as it was before, through libsndfile, one track after
the other. The second encodes real music with several settings of each encoder and compares what comes out with
what went in: the signal to noise ratio, and the noise to mask ratio of a simple model of hearing.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from ironclad_assets.audio import lossy, recombine
from ironclad_assets.audio.encode import open_encoder
from ironclad_assets.audio.encoder import Encoder
from ironclad_assets.audio.formats import is_lossless, rate_for
from ironclad_assets.audio.honest_file import HonestFile
from ironclad_assets.contracts.v1.formats import OutputFormat
from tests import synth

Audio = NDArray[np.float32]
"""Shape (frames, channels)."""

RATE_HZ = 44_100
OPUS_HZ = 48_000
EXCERPT_S = 10
MASK_OFFSET_DB = 10.25
"""Half way between noise masking tone (6) and tone masking noise (14.5): Johnston 1988."""

BANDS = 24
FFT = 2048
BEFORE = "mp3 by libsndfile, as before"
SETTINGS: dict[OutputFormat, tuple[tuple[int, dict[str, str]], ...]] = {
    OutputFormat.MP3: tuple(
        (kbps, {"compression_level": quality})
        for kbps, quality in ((320, "3"), (320, "5"), (320, "7"), (256, "5"), (256, "7"), (192, "5"), (192, "7"))
    ),
    OutputFormat.M4A: tuple(
        (kbps, {"aac_coder": coder}) for kbps, coder in ((256, "twoloop"), (256, "fast"), (192, "twoloop"))
    ),
    OutputFormat.OPUS: tuple(
        (kbps, {"compression_level": level}) for kbps, level in ((192, "10"), (192, "5"), (192, "0"), (128, "10"))
    ),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What rendering all tracks took, in seconds of wall and of processor; `cpu_s_per_minute` is of one track."""

    what: str
    threads: int
    wall_s: float
    cpu_s: float
    cpu_s_per_minute: float


@dataclass(frozen=True, slots=True)
class Quality:
    """What one setting of an encoder makes of music.

    Attributes:
        snr_db: signal to noise ratio, mean over the songs.
        nmr_db: noise to mask ratio, mean over time and bands; lower is better.
        audible_share: share of the moments at which some band's noise is above the mask, 0 to 1.
    """

    output: OutputFormat
    kbps: int
    setting: str
    cpu_s_per_minute: float
    snr_db: float
    nmr_db: float
    audible_share: float


def make_inputs(folder: Path, *, minutes: float, tracks: int) -> dict[str, Any]:
    """Write staged stems of that length and return the inputs and tracks of a rendering request."""
    minute = [synth.music(60.0, seed=seed) * np.float32(0.5) for seed in range(tracks)]
    inputs, plans = {}, []
    for number, y in enumerate(minute):
        path = folder / f"{number}.raw"
        with path.open("wb") as stream:
            left = round(minutes * 60 * RATE_HZ)
            while left:
                part = y.T[: min(left, y.shape[1])]
                stream.write(np.ascontiguousarray(part).tobytes())
                left -= len(part)
        inputs[str(number)] = {"path": str(path), "sample_rate_hz": RATE_HZ, "channels": 2}
        plans.append({"name": str(number), "add": [str(number)], "subtract": [], "levels": None, "tags": {}})
    return {"inputs": inputs, "tracks": plans}


def render(folder: Path, made: dict[str, Any], *, output: OutputFormat, minutes: float, threads: int) -> Cost:
    """Render all tracks once, in this process."""
    rate = rate_for(RATE_HZ, output=output)
    tracks = [{**plan, "path": f"targets/{plan['name']}.{output}"} for plan in made["tracks"]]
    request = {
        "inputs": made["inputs"], "tracks": tracks, "folder": str(folder), "cover": None, "format": output.value,
        "sample_format": "int24" if is_lossless(output) else None, "bitrate_kbps": None, "threads": threads,
        "audio": {"sample_rate_hz": rate, "channels": 2, "frames": round(minutes * 60 * rate)},
    }  # fmt: skip
    wall, cpu = time.perf_counter(), time.process_time()
    recombine.render_tracks(lambda _fraction, _message: None, request=request)
    return _cost(output.value, threads, wall=wall, cpu=cpu, track_minutes=minutes * len(tracks))


class EncoderBefore(Encoder):
    """MP3 as it was encoded until now: libsndfile's LAME at its only quality."""

    def __init__(self, path: Path, *, sample_rate_hz: int, channels: int, **_others: object) -> None:
        super().__init__(path, clips=True)
        options = {"compression_level": 0.0, "bitrate_mode": "CONSTANT"}
        self._file = soundfile.SoundFile(
            self._raw, "w", sample_rate_hz, channels, format="MP3", subtype="MPEG_LAYER_III", **options
        )

    def _write(self, block: Audio) -> None:
        self._file.write(block)

    def _end(self) -> None:
        self._file.close()

    def _give_up(self) -> None:
        self._file.close()

    def _amend(self, file: HonestFile) -> None:
        pass


def render_as_before(folder: Path, made: dict[str, Any], *, minutes: float) -> Cost:
    """Render all tracks to MP3 as until now, one after the other."""
    own = recombine.open_encoder
    recombine.open_encoder = EncoderBefore  # type: ignore[assignment]  # takes the same arguments
    try:
        return replace(render(folder, made, output=OutputFormat.MP3, minutes=minutes, threads=1), what=BEFORE)
    finally:
        recombine.open_encoder = own


def _cost(what: str, threads: int, *, wall: float, cpu: float, track_minutes: float) -> Cost:
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Cost(what=what, threads=threads, wall_s=wall, cpu_s=cpu, cpu_s_per_minute=cpu / track_minutes)


def measure_costs(outputs: list[OutputFormat], *, minutes: float, tracks: int, rounds: int) -> list[Cost]:
    """Return the median cost of every way, from rounds in which all ways take turns."""
    cores = len(os.sched_getaffinity(0))
    found: dict[tuple[str, int], list[Cost]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = make_inputs(folder, minutes=minutes, tracks=tracks)
        for _ in range(rounds):
            costs = [render_as_before(folder, made, minutes=minutes)] if OutputFormat.MP3 in outputs else []
            for output in outputs:
                for threads in (1, cores):
                    costs.append(render(folder, made, output=output, minutes=minutes, threads=threads))
            for cost in costs:
                found.setdefault((cost.what, cost.threads), []).append(cost)
    return [sorted(costs, key=lambda cost: cost.wall_s)[len(costs) // 2] for costs in found.values()]


def measure_quality(songs: Path) -> Iterator[Quality]:
    """Encode excerpts of all FLAC files below `songs` with every setting, and compare."""
    excerpts = []
    for path in sorted(songs.rglob("*.flac")):
        y, rate = soundfile.read(path, dtype="float32", always_2d=True, start=5 * RATE_HZ, frames=EXCERPT_S * RATE_HZ)
        if rate == RATE_HZ and len(y) and np.abs(y).max() > 1e-2:
            excerpts.append(y)
    for output, settings in SETTINGS.items():
        for kbps, setting in settings:
            yield _quality(excerpts, output=output, kbps=kbps, setting=setting)


def _quality(excerpts: list[Audio], *, output: OutputFormat, kbps: int, setting: dict[str, str]) -> Quality:
    spent, ratios, masks, audible = 0.0, [], [], []
    rate = rate_for(RATE_HZ, output=output)
    own = lossy._codec_options
    lossy._codec_options = lambda *_args, **_more: setting  # the settings under comparison
    try:
        with tempfile.TemporaryDirectory() as name:
            for excerpt in excerpts:
                y = excerpt if rate == RATE_HZ else soxr.resample(excerpt, RATE_HZ, rate)
                path = Path(name) / f"a.{output}"
                started = time.process_time()
                with open_encoder(
                    path, output=output, sample_rate_hz=rate, channels=y.shape[1], frames=len(y), bitrate_kbps=kbps
                ) as encoder:
                    encoder.add(y.T)
                spent += time.process_time() - started
                noise = _decoded(path, channels=y.shape[1]) - y
                ratios.append(10 * np.log10(np.mean(y**2) / np.mean(noise**2)))
                mask = _noise_to_mask(y, noise, rate=rate)
                masks.append(mask.mean())
                audible.append((mask > 1.0).any(axis=1).mean())
    finally:
        lossy._codec_options = own
    return Quality(
        output=output, kbps=kbps, setting=", ".join(f"{key} {value}" for key, value in setting.items()),
        cpu_s_per_minute=spent / (len(excerpts) * EXCERPT_S / 60), snr_db=statistics.fmean(ratios),
        nmr_db=float(10 * np.log10(np.mean(masks))), audible_share=statistics.fmean(audible),
    )  # fmt: skip


def _decoded(path: Path, *, channels: int) -> Audio:
    with av.open(str(path)) as container:
        blocks = [
            frame.to_ndarray().T if frame.format.is_planar else frame.to_ndarray().reshape(-1, channels)
            for frame in container.decode(audio=0)
        ]
    return np.concatenate(blocks).astype(np.float32)


def _noise_to_mask(y: Audio, noise: Audio, *, rate: int) -> NDArray[np.float64]:
    """Return the noise to mask ratio of every moment and channel, shape (moments, bands), linear.

    The mask is the energy in Bark bands, spread by 27 dB per Bark downward and 10 upward, less an offset.
    """
    hertz = np.fft.rfftfreq(FFT, 1 / rate)
    bark = 13 * np.arctan(0.00076 * hertz) + 3.5 * np.arctan((hertz / 7500) ** 2)
    bands = np.eye(BANDS + 1)[np.clip(bark.astype(int), 0, BANDS)][:, :BANDS]
    distance = np.subtract.outer(np.arange(BANDS), np.arange(BANDS))
    spread = 10 ** (np.where(distance >= 0, -10.0 * distance, 27.0 * distance) / 10)
    window = np.hanning(FFT)
    rows = []
    for channel in range(y.shape[1]):
        for start in range(0, len(y) - FFT, FFT // 2):
            part = slice(start, start + FFT)
            power = np.abs(np.fft.rfft(y[part, channel] * window)) ** 2 @ bands
            if power.sum() > 1e-3:
                mask = spread @ power * 10 ** (-MASK_OFFSET_DB / 10) + 1e-7 * FFT
                rows.append(np.abs(np.fft.rfft(noise[part, channel] * window)) ** 2 @ bands / mask)
    return np.array(rows)


def draw_costs(costs: list[Cost], *, console: Console) -> None:
    table = Table("format", "threads", "wall s", "CPU s", "CPU s per minute of one track", "wall, one thread / several")
    alone = {cost.what: cost.wall_s for cost in costs if cost.threads == 1}
    for cost in costs:
        ratio = f"{alone[cost.what] / cost.wall_s:.2f}" if cost.threads > 1 else ""
        table.add_row(
            cost.what,
            str(cost.threads),
            f"{cost.wall_s:.1f}",
            f"{cost.cpu_s:.1f}",
            f"{cost.cpu_s_per_minute:.2f}",
            ratio,
        )
    console.print(table)


def draw_quality(found: list[Quality], *, console: Console) -> None:
    table = Table("format", "kbit/s", "setting", "CPU s per minute", "SNR dB", "NMR dB", "moments above the mask")
    for one in found:
        table.add_row(
            one.output.value, str(one.kbps), one.setting, f"{one.cpu_s_per_minute:.2f}", f"{one.snr_db:.1f}",
            f"{one.nmr_db:.1f}", f"{one.audible_share:.1%}",
        )  # fmt: skip
    console.print(table)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0, help="length of a track (default: 3)")
    parser.add_argument("--tracks", type=int, default=5, help="how many (default: 5)")
    parser.add_argument(
        "--formats", type=OutputFormat, nargs="+", default=list(OutputFormat), metavar="FORMAT", help="default: all"
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often all take turns (default: 3)")
    parser.add_argument(
        "--quality", type=Path, metavar="FOLDER", help="compare encoder settings on the music in FOLDER"
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    console = Console(width=140)
    document: dict[str, Any]
    if options.quality is not None:
        found = list(measure_quality(options.quality))
        draw_quality(found, console=console)
        document = {"quality": [asdict(one) for one in found]}
    else:
        costs = measure_costs(options.formats, minutes=options.minutes, tracks=options.tracks, rounds=options.rounds)
        draw_costs(costs, console=console)
        document = {"costs": [asdict(cost) for cost in costs]}
    if options.json is not None:
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
