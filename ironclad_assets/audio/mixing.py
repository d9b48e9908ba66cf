"""Mixes tracks from staged audio, block after block, at the rate, channels and length of the result.

What is mixed of what is decided in `pipeline/track_plan.py`; encoding is `recombine`'s.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ironclad_assets.audio.resample import Samples, StreamResampler

BLOCK_FRAMES = 1 << 16


@dataclass(slots=True)
class Mixer:
    """Makes every track's samples. `stack` closes the inputs."""

    request: dict[str, Any]  # a JSON object, see `pipeline/recombine.py`
    stack: ExitStack
    readers: dict[str, "_StagedReader"] = field(default_factory=dict)

    def blocks(self) -> Iterator[list[Samples]]:
        """Yield one block of every track, each of shape (frames, channels). Blocks may share memory: do not change.

        A track of several streams has the channels of all of them, one stream after the other.
        """
        audio = self.request["audio"]
        used = {
            name
            for track in self.request["tracks"]
            for stream in (track, *track.get("streams", ()))
            for name in (*stream["add"], *stream["subtract"])
        }
        for name in sorted(used):
            reader = _StagedReader(
                self.request["inputs"][name], sample_rate_hz=audio["sample_rate_hz"], channels=audio["channels"]
            )
            self.stack.callback(reader.close)
            self.readers[name] = reader
        for start in range(0, audio["frames"], BLOCK_FRAMES):
            frames = min(BLOCK_FRAMES, audio["frames"] - start)
            inputs = {name: reader.take(frames) for name, reader in self.readers.items()}
            yield [_mix(track, inputs) for track in self.request["tracks"]]


class _StagedReader:
    """Reads staged audio block by block at the rate, channels and length of the result."""

    def __init__(self, audio: dict[str, Any], *, sample_rate_hz: int, channels: int) -> None:
        self._stream = Path(audio["path"]).open("rb")  # noqa: SIM115 - closed in `close`
        self._channels = int(audio["channels"])
        self._wanted_channels = channels
        self._resampler = StreamResampler(
            from_hz=audio["sample_rate_hz"], to_hz=sample_rate_hz, channels=min(self._channels, channels)
        )
        self._direct = audio["sample_rate_hz"] == sample_rate_hz
        self._ready: list[Samples] = []
        self._ended = False

    def take(self, frames: int) -> Samples:
        """Return the next block, shape (frames, channels); what is missing at the end is silence."""
        held = sum(map(len, self._ready))
        while held < frames and not self._ended:
            self._ready.append(self._more(frames))
            held += len(self._ready[-1])
        joined = self._ready[0] if len(self._ready) == 1 else np.concatenate(self._ready)
        block, rest = joined[:frames], joined[frames:]
        self._ready = [rest]
        if len(block) < frames:
            block = np.concatenate((block, np.zeros((frames - len(block), block.shape[1]), dtype=np.float32)))
        return np.repeat(block, self._wanted_channels, axis=1) if block.shape[1] < self._wanted_channels else block

    def close(self) -> None:
        self._stream.close()

    def _more(self, frames: int) -> Samples:
        y = np.fromfile(self._stream, dtype="<f4", count=frames * self._channels).reshape(-1, self._channels)
        if self._channels > self._wanted_channels:
            y = y.mean(axis=1, keepdims=True, dtype=np.float32)
        self._ended = len(y) == 0
        if self._direct:
            return y
        return self._resampler.finish() if self._ended else self._resampler.add(y)


def _mix(track: dict[str, Any], inputs: dict[str, Samples]) -> Samples:
    """Return the sum of the inputs to add minus the sum of those to subtract; of several streams side by side."""
    if track.get("streams"):
        return np.concatenate([_mix(stream, inputs) for stream in track["streams"]], axis=1)
    first, *others = track["add"]
    y = inputs[first]
    for name in others:
        y = y + inputs[name]
    for name in track["subtract"]:
        y = y - inputs[name]
    return y
