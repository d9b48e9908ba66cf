"""Measure a mixture and its stems in one pass over the raw files: levels, residual, equality, picture.

States facts; whether they are good enough is decided in `pipeline.separate`. Runs in a child process, in
constant memory.
"""

import base64
import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ironclad_assets.audio.levels import LevelMeter
from ironclad_assets.audio.resample import Samples
from ironclad_assets.audio.waveform import Envelope, draw_waveform

Report = Callable[[float, str], None]
_BLOCK_FRAMES = 65536
_SAMPLE_BYTES = 4
_REPORT_EVERY = 32
_FLOOR_DB = -300.0


def measure_stems(
    report: Report, *, mixture: dict[str, Any], stems: Sequence[dict[str, Any]]
) -> dict[str, Any]:  # JSON objects
    """Return what is true of the stems and of their sum.

    Args:
        report: told of progress.
        mixture: ``path``, ``sample_rate_hz`` and ``channels`` of the staged mixture (raw float32).
        stems: ``name`` and ``path`` of each stem, same rate and channels.

    Returns:
        ``mixture`` and ``stems`` (a list, in the given order): ``loudness_lufs``, ``true_peak_dbtp``,
        ``peak``, ``rms``, ``finite``, ``frames``; ``residual_db``: energy of mixture minus sum of stems,
        relative to the mixture's, at least -300, None where the mixture is silent; ``identical``: pairs of
        names whose samples are all equal, silence not counted; ``waveform_png_base64``.
    """
    rate, channels = int(mixture["sample_rate_hz"]), int(mixture["channels"])
    names = [str(stem["name"]) for stem in stems]
    paths = [Path(mixture["path"]), *(Path(stem["path"]) for stem in stems)]
    lengths = [path.stat().st_size // (_SAMPLE_BYTES * channels) for path in paths]
    tracks = [_Track(rate, channels, frames=lengths[0]) for _ in paths]
    residual = _Residual()
    twins = _Twins(len(names))
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(path.open("rb")) for path in paths]
        for index, blocks in enumerate(_blocks(streams, channels=channels)):
            for track, y in zip(tracks, blocks, strict=True):
                track.add(y)
            residual.add(blocks[0], stems=blocks[1:])
            twins.add(blocks[1:])
            if index % _REPORT_EVERY == 0:
                report(min(1.0, tracks[0].frames / max(lengths[0], 1)), "measuring stems")
    described = [track.describe() for track in tracks]
    envelopes = {name: track.envelope.peaks for name, track in zip(names, tracks[1:], strict=True)}
    loud = [index for index, facts in enumerate(described[1:]) if facts["peak"] > 0.0]
    return {
        "mixture": described[0],
        "stems": [{"name": name, **facts} for name, facts in zip(names, described[1:], strict=True)],
        "residual_db": residual.result(),
        "identical": [[names[a], names[b]] for a, b in twins.pairs() if a in loud and lengths[1 + a] == lengths[1 + b]],
        "waveform_png_base64": base64.b64encode(draw_waveform(tracks[0].envelope.peaks, stems=envelopes)).decode(),
    }


def _blocks(streams: Sequence[BinaryIO], *, channels: int) -> Iterator[list[Samples]]:
    """Yield a block of each file, shape (channels, frames); a file that has ended gives blocks of no frames."""
    wanted = _BLOCK_FRAMES * channels * _SAMPLE_BYTES
    while True:
        blocks = []
        for stream in streams:
            data = stream.read(wanted)
            flat = np.frombuffer(
                data[: len(data) // (channels * _SAMPLE_BYTES) * channels * _SAMPLE_BYTES], dtype="<f4"
            )
            blocks.append(np.ascontiguousarray(flat.reshape(-1, channels).T, dtype=np.float32))
        if not any(y.shape[1] for y in blocks):
            return
        yield blocks


class _Track:
    """Everything that is measured of one file by itself."""

    def __init__(self, rate: int, channels: int, *, frames: int) -> None:
        self._meter = LevelMeter(rate, channels)
        self._expected = frames
        self.envelope = Envelope(frames)

    @property
    def frames(self) -> int:
        return self._meter.frames

    def add(self, y: Samples) -> None:
        before = self._meter.frames
        self._meter.add(y)
        drawn = y[:, : max(0, self._expected - before)]
        if drawn.shape[1]:
            self.envelope.add(np.nan_to_num(drawn) if not self._meter.finite else drawn)

    def describe(self) -> dict[str, Any]:  # JSON values
        return {**self._meter.result(), "finite": self._meter.finite, "frames": self._meter.frames}


class _Residual:
    """Energy of mixture minus the sum of stems, in float64."""

    def __init__(self) -> None:
        self._mixture = 0.0
        self._difference = 0.0

    def add(self, mixture: Samples, *, stems: Sequence[Samples]) -> None:
        difference = mixture.astype(np.float64)
        for y in stems:
            shared = min(y.shape[1], difference.shape[1])
            difference[:, :shared] -= y[:, :shared]
        wide = mixture.astype(np.float64)
        self._mixture += float(np.vdot(wide, wide))
        self._difference += float(np.vdot(difference, difference))

    def result(self) -> float | None:
        if self._mixture <= 0.0 or not math.isfinite(self._mixture):
            return None
        if not math.isfinite(self._difference):
            return -_FLOOR_DB
        ratio = self._difference / self._mixture
        return max(_FLOOR_DB, 10.0 * math.log10(ratio)) if ratio > 0.0 else _FLOOR_DB


class _Twins:
    """Which stems have been equal so far, sample by sample."""

    def __init__(self, count: int) -> None:
        self._equal = set(combinations(range(count), 2))

    def add(self, blocks: Sequence[Samples]) -> None:
        self._equal = {(a, b) for a, b in self._equal if np.array_equal(blocks[a], blocks[b])}

    def pairs(self) -> list[tuple[int, int]]:
        return sorted(self._equal)
