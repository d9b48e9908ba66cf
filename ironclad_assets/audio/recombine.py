"""Renders the delivered tracks of a song from its stems: mixes, encodes, measures, tags, verifies.

Everything streams, all tracks in one pass over the stems, so memory does not grow with length or with the number
of tracks' seconds. Which tracks there are, how they are mixed and what their tags say is decided in
`pipeline/recombine.py`; the request is described there.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from mutagen import MutagenError

from ironclad_assets.audio.embed import make_sheet, read_back, write_tags
from ironclad_assets.audio.encode import Encoder, open_encoder
from ironclad_assets.audio.levels import LevelMeter
from ironclad_assets.audio.resample import Samples, StreamResampler
from ironclad_assets.audio.tag_formats.sheet import Cover, TagSheet

BLOCK_FRAMES = 1 << 16
FULL_SCALE = 1.0

_GAIN_STEPS_PER_DB = 100
_ENCODING_SHARE = 0.8
"""Share of the progress bar; the rest is tagging and verifying."""

Report = Callable[[float, str], None]


def render_tracks(report: Report, *, request: dict[str, Any]) -> dict[str, Any]:
    """Write every track of the request; return their levels and what was found in them afterwards.

    All tracks get one gain: 0 dB, or just enough less that no sample of any track passes full scale. Whether it
    is needed shows on the way, so a second pass is made only by songs that need it.

    Args:
        report: takes progress.
        request: what to render, as `pipeline.recombine` makes it.

    Returns:
        ``gain_db``, ``warnings``, and ``tracks`` in the order of the request: ``frames``, ``sample_rate_hz``,
        ``channels`` as decoded, ``levels``, ``tags_embedded``, ``art_embedded``.
    """
    peak = _encode_all(report, request, gain=1.0)
    gain_db = 0.0
    levels = peak.levels
    if peak.value > FULL_SCALE:
        gain_db = math.floor(-20 * math.log10(peak.value) * _GAIN_STEPS_PER_DB) / _GAIN_STEPS_PER_DB
        levels = _encode_all(report, request, gain=10 ** (gain_db / 20)).levels
    cover = _load_cover(request["cover"])
    warnings: list[str] = []
    tracks = []
    for number, (track, level) in enumerate(zip(request["tracks"], levels, strict=True)):
        report(_ENCODING_SHARE + (1 - _ENCODING_SHARE) * number / len(levels), f"tagging {track['name']}")
        path = Path(request["folder"]) / track["path"]
        sheet = make_sheet({name: tuple(values) for name, values in track["tags"].items()})
        try:
            write_tags(path, sheet=sheet, cover=cover)
        except (MutagenError, ValueError) as error:
            warnings.append(f"{track['name']}: the tags could not be written ({error})")
        tracks.append({**_verify(path, sheet=sheet, cover=cover), "levels": level})
    report(1.0, "tracks are ready")
    return {"gain_db": gain_db, "tracks": tracks, "warnings": warnings}


@dataclass(frozen=True, slots=True)
class _Pass:
    """What one pass over the stems found: the highest sample of any track, and the levels if it was encoded."""

    value: float
    levels: list[dict[str, Any]]


class _TooLoudError(Exception):
    """A track passed full scale, so the files that are being encoded are of no use."""


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


@dataclass(slots=True)
class _Mixer:
    """Makes every track's samples, block after block."""

    request: dict[str, Any]
    stack: ExitStack
    readers: dict[str, _StagedReader] = field(default_factory=dict)

    def blocks(self) -> Iterator[list[Samples]]:
        """Yield one block of every track, each of shape (frames, channels)."""
        audio = self.request["audio"]
        used = {name for track in self.request["tracks"] for name in (*track["add"], *track["subtract"])}
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


def _mix(track: dict[str, Any], inputs: dict[str, Samples]) -> Samples:
    """Return the sum of the inputs to add minus the sum of those to subtract."""
    first, *others = track["add"]
    y = inputs[first]
    for name in others:
        y = y + inputs[name]
    for name in track["subtract"]:
        y = y - inputs[name]
    return y


def _encode_all(report: Report, request: dict[str, Any], *, gain: float) -> _Pass:
    """Encode all tracks with `gain`; after a sample beyond full scale, only look for the highest one."""
    count = max(1, math.ceil(request["audio"]["frames"] / BLOCK_FRAMES))
    highest = 0.0
    with ExitStack() as readers:
        blocks = enumerate(_Mixer(request, readers).blocks())
        try:
            with ExitStack() as files:
                outputs = [_Output.open(track, request, files=files) for track in request["tracks"]]
                for number, tracks in blocks:
                    highest = max(highest, *map(_peak, tracks))
                    if highest * gain > FULL_SCALE:
                        raise _TooLoudError
                    for output, y in zip(outputs, tracks, strict=True):
                        output.add(y if gain == 1.0 else y * np.float32(gain))
                    report(_ENCODING_SHARE * (number + 1) / count, "encoding")
            return _Pass(highest, [output.levels(gain=gain) for output in outputs])
        except _TooLoudError:
            for _, tracks in blocks:
                highest = max(highest, *map(_peak, tracks))
            return _Pass(highest, [])


def _peak(y: Samples) -> float:
    return max(float(y.max(initial=0.0)), -float(y.min(initial=0.0)))


@dataclass(slots=True)
class _Output:
    """One track's file and its meter. A track that is a measured stem as it is needs no meter."""

    encoder: Encoder
    meter: LevelMeter | None
    known: dict[str, Any] | None

    @classmethod
    def open(cls, track: dict[str, Any], request: dict[str, Any], *, files: ExitStack) -> "_Output":
        audio = request["audio"]
        path = Path(request["folder"]) / track["path"]
        path.parent.mkdir(exist_ok=True)
        encoder = open_encoder(
            path,
            format=request["format"],
            sample_rate_hz=audio["sample_rate_hz"],
            channels=audio["channels"],
            subtype=request["subtype"],
            frames=audio["frames"],
        )
        known = track["levels"]
        meter = None if known else LevelMeter(audio["sample_rate_hz"], audio["channels"])
        return cls(encoder=files.enter_context(encoder), meter=meter, known=known)

    def add(self, y: Samples) -> None:
        self.encoder.add(y.T)
        if self.meter is not None:
            self.meter.add(y.T)

    def levels(self, *, gain: float) -> dict[str, Any]:
        """Return the track's levels; known ones follow from the stem's by the gain."""
        if self.meter is not None:
            return dict(self.meter.result())
        gain_db = 20 * math.log10(gain)
        known = dict(self.known or {})
        for name in ("loudness_lufs", "true_peak_dbtp"):
            known[name] = None if known[name] is None else known[name] + gain_db
        return {**known, "peak": known["peak"] * gain, "rms": known["rms"] * gain}


def _load_cover(cover: dict[str, Any] | None) -> Cover | None:
    if cover is None:
        return None
    return Cover(
        data=Path(cover["path"]).read_bytes(), width_px=int(cover["width_px"]), height_px=int(cover["height_px"])
    )


def _verify(path: Path, *, sheet: TagSheet, cover: Cover | None) -> dict[str, Any]:
    """Return what a player will find: decoded length, rate and channels, and whether tags and art are there."""
    frames = 0
    with soundfile.SoundFile(path) as decoded:
        buffer = np.empty((BLOCK_FRAMES, decoded.channels), dtype=np.int32)  # a fifth faster than float
        while count := len(decoded.read(out=buffer)):
            frames += count
        found = {"frames": frames, "sample_rate_hz": decoded.samplerate, "channels": decoded.channels}
    try:
        written = read_back(path)
    except (MutagenError, ValueError):
        return {**found, "tags_embedded": False, "art_embedded": False}
    return {
        **found,
        "tags_embedded": written.fields == sheet.fields,
        "art_embedded": cover is not None and [picture.data for picture in written.pictures] == [cover.data],
    }
