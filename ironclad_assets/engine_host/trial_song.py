"""The short song that engines are verified with, and what is asked of the stems. Standard library only."""

import math
import random
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from operator import mul
from pathlib import Path
from typing import Literal

from ironclad_assets.contracts.v1.engine import AudioFile
from ironclad_assets.contracts.v1.staged_chunks import Chunk, MixtureStatistics

DURATION_S = 20
CHUNK_S = 5
BYTES_PER_SAMPLE = 4
ALIKE_DB = -60.0
"""Two stems that differ by less, relative to their own energy, are one and the same."""

SILENT_DB = -90.0
"""Level against the mixture below which a stem says nothing."""


@dataclass(frozen=True, slots=True)
class TrialSong:
    """The staged song: interleaved little-endian float32, with what a request says of it."""

    audio: AudioFile
    statistics: MixtureStatistics
    chunks: tuple[Chunk, ...]
    energy: float
    """Sum of the squares of all samples."""


def write_song(path: Path, *, sample_rate_hz: int, channels: Literal[1, 2]) -> TrialSong:
    """Write the song to `path`: a bass, a chord, a voice with vibrato and a beat, the same every time."""
    frames = DURATION_S * sample_rate_hz
    samples = _synthesise(frames, rate=sample_rate_hz, channels=channels)
    path.write_bytes(samples.tobytes())
    chunk = CHUNK_S * sample_rate_hz
    return TrialSong(
        audio=AudioFile(
            path=str(path), sample_rate_hz=sample_rate_hz, channels=1 if channels == 1 else 2, frames=frames
        ),
        statistics=_measure(samples, channels=channels),
        chunks=tuple(Chunk(start=start, frames=min(chunk, frames - start)) for start in range(0, frames, chunk)),
        energy=_energy(samples),
    )


def _synthesise(frames: int, *, rate: int, channels: int) -> "array[float]":
    noise = random.Random(1).random  # noqa: S311 - a drum, not a secret
    samples = array("f", bytes(frames * channels * BYTES_PER_SAMPLE))
    turn = 2 * math.pi / rate
    for at in range(frames):
        beat = at % (rate // 2)
        bass = 0.2 * math.sin(55 * turn * at)
        chord = 0.06 * (math.sin(220 * turn * at) + math.sin(277.18 * turn * at) + math.sin(329.63 * turn * at))
        voice = 0.15 * math.sin(440 * turn * at + 4 * math.sin(5 * turn * at))
        drum = 0.3 * (noise() - 0.5) * math.exp(-beat / (0.04 * rate))
        for channel in range(channels):
            samples[at * channels + channel] = bass + (1.5 if channel else 0.5) * chord + voice + drum
    return samples


def _measure(samples: "array[float]", *, channels: int) -> MixtureStatistics:
    """Return what `MixtureStatistics` says; mean and standard deviation are of the average of the channels."""
    if channels == 1:
        middle = samples
    else:
        middle = array("f", ((left + right) / 2 for left, right in zip(samples[::2], samples[1::2], strict=True)))
    mean = math.fsum(middle) / len(middle)
    variance = math.fsum((sample - mean) ** 2 for sample in middle) / (len(middle) - 1)
    return MixtureStatistics(
        mean=mean,
        std=math.sqrt(variance),
        peak=max(max(samples), -min(samples)),
        rms=math.sqrt(_energy(samples) / len(samples)),
    )


def _energy(samples: "array[float]") -> float:
    return math.fsum(map(mul, samples, samples))


def _read(path: Path) -> "array[float]":
    samples = array("f")
    samples.frombytes(path.read_bytes())
    return samples


def find_wrong_length(stems: Mapping[str, Path], *, song: TrialSong) -> str:
    """Return which stem is not as long as the song, or nothing."""
    wanted = song.audio.frames * song.audio.channels * BYTES_PER_SAMPLE
    for name, path in stems.items():
        size = path.stat().st_size if path.exists() else 0
        if size != wanted:
            return f"{name} has {size} bytes, not {wanted}"
    return ""


def find_non_finite(stems: Mapping[str, Path], *, song: TrialSong) -> str:
    """Return which stem holds NaN or infinity, or nothing."""
    for name, path in stems.items():
        if not all(map(math.isfinite, _read(path))):
            return f"{name} holds NaN or infinite samples"
    return ""


def find_alike(stems: Mapping[str, Path], *, song: TrialSong) -> str:
    """Return which two stems are one and the same, or that all are silent, or nothing.

    An engine whose weights are missing may answer with the same sound in every stem, as Spleeter does.
    """
    floor = song.energy * 10 ** (SILENT_DB / 10)
    read = {name: _read(path) for name, path in stems.items()}
    energy = {name: _energy(samples) for name, samples in read.items()}
    heard = [name for name in read if energy[name] > floor]
    if not heard:
        return "all stems are silent"
    for at, first in enumerate(heard):
        for second in heard[at + 1 :]:
            differing = sum((one - other) ** 2 for one, other in zip(read[first], read[second], strict=True))
            if differing < (energy[first] + energy[second]) * 10 ** (ALIKE_DB / 10):
                return f"{first} and {second} are the same sound"
    return ""
