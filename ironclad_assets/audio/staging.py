"""Decode a song once into the raw audio that engines and the mix work on, measuring it on the way.

Writes interleaved little-endian float32. Which rate and channels an engine wants is the caller's knowledge;
cutting into chunks is arithmetic and belongs to `pipeline.stage`. Runs in a child process.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ironclad_assets.audio.decode import Decoder
from ironclad_assets.audio.downmix import downmix_matrix
from ironclad_assets.audio.probe import SILENCE_PEAK
from ironclad_assets.audio.resample import Samples, StreamResampler
from ironclad_assets.errors import ErrorCode, PermanentFailure
from ironclad_assets.sandbox.confine import allow_cpu

Report = Callable[[float, str], None]
_REPORT_S = 10.0


def stage_file(
    report: Report,
    *,
    path: str,
    mixture_path: str,
    source_path: str,
    engine_rate_hz: int,
    engine_channels: int,
    max_frames: int,
) -> dict[str, Any]:  # a JSON object
    """Write the mixture as the engine wants it, and the source's own audio where that differs.

    Args:
        report: told of progress.
        path: the original.
        mixture_path: gets the audio at the engine's rate and channels.
        source_path: gets the audio at the source's rate with one or two channels; not written where that
            would be the same as the mixture.
        engine_rate_hz: rate of the mixture.
        engine_channels: 1 or 2.
        max_frames: frames that validation counted; more is a sign that the file has changed.

    Returns:
        ``mixture`` and ``source`` (or None) as rate, channels, frames; ``statistics``; ``source_format``;
        ``silent``; ``warnings``.

    Raises:
        PermanentFailure: `ARTIFACT_DAMAGED` where the file holds more audio than validation counted.
        Refusal: as `probe.inspect_file`.
    """
    with Decoder(Path(path)) as decoder, contextlib.ExitStack() as stack:
        facts = decoder.facts
        matrix = downmix_matrix(facts.layout)
        source_channels = min(facts.channels, 2)
        same = facts.sample_rate_hz == engine_rate_hz and source_channels == engine_channels
        source = None if same else _Writer(stack.enter_context(Path(source_path).open("wb")), source_channels)
        mixture = _Mixture(
            _Writer(stack.enter_context(Path(mixture_path).open("wb")), engine_channels),
            from_hz=facts.sample_rate_hz,
            to_hz=engine_rate_hz,
            channels=min(source_channels, engine_channels),
        )
        frames, reported = 0, 0.0
        for y in decoder.blocks():
            frames += len(y)
            if frames > max_frames:
                raise PermanentFailure(
                    f"more than the {max_frames} samples that validation counted", code=ErrorCode.ARTIFACT_DAMAGED
                )
            mixed = y if matrix is None else y @ matrix
            if source is not None:
                source.add(mixed)
            mixture.add(mixed)
            if frames / facts.sample_rate_hz - reported >= _REPORT_S:
                reported = frames / facts.sample_rate_hz
                allow_cpu(2.0 * reported / 60.0)
                report(frames / max_frames, f"staged {reported / 60:.1f} min")
        mixture.finish()
    return {
        "mixture": mixture.writer.describe(engine_rate_hz),
        "source": source.describe(facts.sample_rate_hz) if source is not None else None,
        "statistics": mixture.statistics.result(),
        "source_format": {"sample_rate_hz": facts.sample_rate_hz, "channels": source_channels, "frames": frames},
        "silent": mixture.statistics.peak < SILENCE_PEAK,
        "warnings": [f"{facts.channels} channels were mixed down to stereo"] if matrix is not None else [],
    }


class _Writer:
    """Appends blocks to a raw file."""

    def __init__(self, stream: BinaryIO, channels: int) -> None:
        self._stream = stream
        self._channels = channels
        self.frames = 0

    def add(self, y: Samples) -> None:
        self._stream.write(np.ascontiguousarray(y, dtype="<f4").data)
        self.frames += len(y)

    def describe(self, sample_rate_hz: int) -> dict[str, int]:
        return {"sample_rate_hz": sample_rate_hz, "channels": self._channels, "frames": self.frames}


class _Mixture:
    """The way from the source's channels and rate to the engine's.

    Channels are folded before resampling and doubled after it, so that nothing is resampled twice.
    """

    def __init__(self, writer: _Writer, *, from_hz: int, to_hz: int, channels: int) -> None:
        self.writer = writer
        self.statistics = _Statistics()
        self._channels = channels
        self._doubled = writer.describe(to_hz)["channels"] > channels
        self._resampler = StreamResampler(from_hz=from_hz, to_hz=to_hz, channels=channels)

    def add(self, y: Samples) -> None:
        if y.shape[1] > self._channels:
            y = y.mean(axis=1, keepdims=True, dtype=np.float32)
        self._write(self._resampler.add(y))

    def finish(self) -> None:
        self._write(self._resampler.finish())

    def _write(self, y: Samples) -> None:
        if len(y):
            self.statistics.add(y)
            self.writer.add(np.repeat(y, 2, axis=1) if self._doubled else y)


@dataclass(slots=True)
class _Statistics:
    """Running statistics; sums in float64."""

    frames: int = 0
    values: int = 0
    mono_sum: float = 0.0
    mono_squares: float = 0.0
    squares: float = 0.0
    peak: float = 0.0

    def add(self, y: Samples) -> None:
        """Take the next block, shape (frames, channels)."""
        wide = y.astype(np.float64)
        mono = wide[:, 0] if wide.shape[1] == 1 else (wide[:, 0] + wide[:, 1]) * 0.5
        self.frames += len(y)
        self.values += wide.size
        self.mono_sum += float(mono.sum())
        self.mono_squares += float(mono @ mono)
        self.squares += float(np.vdot(wide, wide))
        self.peak = max(self.peak, float(y.max()), -float(y.min()))

    def result(self) -> dict[str, float]:
        """Return mean and unbiased standard deviation of the mono mixture, peak and RMS of all channels."""
        mean = self.mono_sum / max(1, self.frames)
        spread = max(0.0, self.mono_squares - self.frames * mean * mean)
        return {
            "mean": mean,
            "std": (spread / max(1, self.frames - 1)) ** 0.5,
            "peak": self.peak,
            "rms": (self.squares / max(1, self.values)) ** 0.5,
        }
