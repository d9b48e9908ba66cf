"""Renders the delivered tracks of a song from its stems: mixes, encodes, measures, tags, verifies.

Everything streams, all tracks in one pass over the stems, so memory does not grow with length or with the number
of tracks' seconds; several tracks are encoded at once. Which tracks there are, how they are mixed and what their
tags say is decided in `pipeline/recombine.py`; the request is described there.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ironclad_assets.audio.delivered import finish_track
from ironclad_assets.audio.embed import make_sheet
from ironclad_assets.audio.encode import open_encoder
from ironclad_assets.audio.encoder import Encoder
from ironclad_assets.audio.lanes import Lane, Lanes
from ironclad_assets.audio.levels import LevelMeter
from ironclad_assets.audio.mixing import BLOCK_FRAMES, Mixer
from ironclad_assets.audio.resample import Samples
from ironclad_assets.audio.stem_mp4 import StemMp4Encoder
from ironclad_assets.audio.tag_formats.replaygain import replaygain_fields
from ironclad_assets.audio.tag_formats.sheet import Cover
from ironclad_assets.contracts.v1.formats import OutputFormat, SampleFormat

FULL_SCALE = 1.0

_GAIN_STEPS_PER_DB = 100
_ENCODING_SHARE = 0.8
"""Share of the progress bar; the rest is tagging and verifying."""

Report = Callable[[float, str], None]


def render_tracks(report: Report, *, request: dict[str, Any]) -> dict[str, Any]:
    """Write every track of the request; return their levels and what was found in them afterwards.

    All tracks get one gain: 0 dB, or just enough less that no sample of any track passes full scale. Whether it
    is needed shows on the way, so a second pass is made only by songs that need it. Files of float samples hold
    what passes full scale and get no gain, but a file for DJ programs beside them then has its own. The bytes do
    not depend on ``threads``.

    Args:
        report: takes progress.
        request: what to render, as `pipeline.recombine` makes it.

    Returns:
        ``gain_db``, ``peak`` (the highest sample before the gain), ``warnings``, and ``tracks`` in the order of
        the request: ``frames``, ``sample_rate_hz``, ``channels`` as decoded, ``levels``, ``tags_embedded``,
        ``art_embedded``.
    """
    plain, several = _split(request)
    bounded = request["sample_format"] != SampleFormat.FLOAT32
    together, apart = ([plain, *several], []) if bounded else (several, [plain])
    free = _encode_parts(report, apart, most=math.inf)
    full = _encode_parts(report, together, most=FULL_SCALE)
    warnings: list[str] = []
    if not bounded and full.gain_db:
        warnings.append(f"the file for DJ programs is {-full.gain_db:.2f} dB quieter than the float files beside it")
    levels = {**free.levels, **full.levels}
    tracks = []
    in_order = [levels[track["path"]] for track in request["tracks"]]
    finished = _finish_all(report, request, levels=in_order)
    for track, level, (found, problem) in zip(request["tracks"], in_order, finished, strict=True):
        tracks.append({**found, "levels": level})
        if problem:
            warnings.append(f"{track['name']}: the tags could not be written ({problem})")
    report(1.0, "tracks are ready")
    found_first = full if bounded else free
    return {"gain_db": found_first.gain_db, "peak": found_first.peak, "tracks": tracks, "warnings": warnings}


@dataclass(frozen=True, slots=True)
class _Rendered:
    """What tracks of one gain came to: the gain, the highest sample before it, and levels by path."""

    gain_db: float
    peak: float
    levels: dict[str, dict[str, Any]]


def _split(request: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the request of all files of one stream, and one for each file of several, with its own rate and channels.

    Each gets the part of the progress bar that its streams are of all.
    """
    plain = [track for track in request["tracks"] if not track.get("streams")]
    several = [track for track in request["tracks"] if track.get("streams")]
    counts = [len(plain), *(len(track["streams"]) for track in several)]
    parts = [(sum(counts[:at]) / sum(counts), count / sum(counts)) for at, count in enumerate(counts)]
    return {**request, "tracks": plain, "progress": parts[0]}, [
        {**request, "tracks": [track], "audio": track["audio"], "progress": part}
        for track, part in zip(several, parts[1:], strict=True)
    ]


def _encode_parts(report: Report, parts: list[dict[str, Any]], *, most: float) -> _Rendered:
    """Encode the tracks of several requests with one gain, by which none of their samples is above `most`."""
    peak, gain_db = 0.0, 0.0
    passes = []
    for part in parts:
        passes.append(_encode_all(report, part, gain=1.0, most=most if peak <= most else -math.inf))
        peak = max(peak, passes[-1].peak)
    if peak > most:
        gain_db = math.floor(-20 * math.log10(peak) * _GAIN_STEPS_PER_DB) / _GAIN_STEPS_PER_DB
        passes = [_encode_all(report, part, gain=10 ** (gain_db / 20), most=math.inf) for part in parts]
    levels = {
        track["path"]: level
        for part, done in zip(parts, passes, strict=True)
        for track, level in zip(part["tracks"], done.levels, strict=True)
    }
    return _Rendered(gain_db=gain_db, peak=peak, levels=levels)


def _finish_all(
    report: Report, request: dict[str, Any], *, levels: list[dict[str, Any]]
) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Tag and verify all files, several at once; yield what was found, in the order of the request."""
    cover = _load_cover(request["cover"])
    found: dict[int, tuple[dict[str, Any], str | None]] = {}

    def finish(number: int, track: dict[str, Any]) -> None:
        path = Path(request["folder"]) / track["path"]
        loudness = replaygain_fields(levels[number], opus=path.suffix == ".opus")
        sheet = make_sheet({name: tuple(values) for name, values in track["tags"].items()} | loudness)
        found[number] = finish_track(path, sheet=sheet, cover=cover, id3_version=request.get("id3_version", "2.4"))

    tracks = request["tracks"]
    with Lanes(threads=request["threads"]) as lanes:
        waiting = [lanes.open_lane() for _ in tracks]
        for number, (track, lane) in enumerate(zip(tracks, waiting, strict=True)):
            lane.post(partial(finish, number, track))
        for number, (track, lane) in enumerate(zip(tracks, waiting, strict=True)):
            report(_ENCODING_SHARE + (1 - _ENCODING_SHARE) * number / len(tracks), f"tagging {track['name']}")
            lane.drain()
            yield found[number]


@dataclass(frozen=True, slots=True)
class _Pass:
    """What one pass over the stems found: the highest sample of any track, and the levels if it was encoded."""

    peak: float
    levels: list[dict[str, Any]]


class _TooLoudError(Exception):
    """A track passed full scale, so the files that are being encoded are of no use."""


def _encode_all(report: Report, request: dict[str, Any], *, gain: float, most: float) -> _Pass:
    """Encode all tracks with `gain`; after a sample beyond `most`, only look for the highest one."""
    count = max(1, math.ceil(request["audio"]["frames"] / BLOCK_FRAMES))
    begin, share = request["progress"]
    highest = 0.0
    with ExitStack() as readers:
        blocks = enumerate(Mixer(request, readers).blocks())
        try:
            with ExitStack() as files, Lanes(threads=request["threads"]) as lanes:
                outputs = [_Output.open(track, request, files=files, lanes=lanes) for track in request["tracks"]]
                for number, tracks in blocks:
                    highest = max(highest, *map(_peak, tracks))
                    if highest > most:
                        raise _TooLoudError
                    for output, y in zip(outputs, tracks, strict=True):
                        output.lane.post(partial(output.add, y, gain=gain))
                    report(_ENCODING_SHARE * (begin + share * (number + 1) / count), "encoding")
                for output in outputs:
                    output.lane.drain()
            return _Pass(highest, [output.levels(gain=gain) for output in outputs])
        except _TooLoudError:
            for _, tracks in blocks:
                highest = max(highest, *map(_peak, tracks))
            return _Pass(highest, [])


def _peak(y: Samples) -> float:
    return max(float(y.max(initial=0.0)), -float(y.min(initial=0.0)))


@dataclass(slots=True)
class _Output:
    """One track's file and its meter, which hears the first stream. A measured stem as it is needs no meter."""

    encoder: Encoder
    lane: Lane
    meter: LevelMeter | None
    channels: int
    known: dict[str, Any] | None

    @classmethod
    def open(cls, track: dict[str, Any], request: dict[str, Any], *, files: ExitStack, lanes: Lanes) -> "_Output":
        audio = request["audio"]
        known = track["levels"]
        return cls(
            encoder=files.enter_context(_open_encoder(track, request)),
            lane=lanes.open_lane(),
            meter=None if known else LevelMeter(audio["sample_rate_hz"], audio["channels"]),
            channels=audio["channels"],
            known=known,
        )

    def add(self, y: Samples, *, gain: float) -> None:
        """Encode and measure the next block, shape (frames, channels)."""
        y = y if gain == 1.0 else y * np.float32(gain)
        self.encoder.add(y.T)
        if self.meter is not None:
            self.meter.add(y.T[: self.channels])

    def levels(self, *, gain: float) -> dict[str, Any]:
        """Return the track's levels; known ones follow from the stem's by the gain."""
        if self.meter is not None:
            return dict(self.meter.result())
        gain_db = 20 * math.log10(gain)
        known = dict(self.known or {})
        for name in ("loudness_lufs", "true_peak_dbtp"):
            known[name] = None if known[name] is None else known[name] + gain_db
        return {**known, "peak": known["peak"] * gain, "rms": known["rms"] * gain}


def _open_encoder(track: dict[str, Any], request: dict[str, Any]) -> Encoder:
    audio = request["audio"]
    path = Path(request["folder"]) / track["path"]
    path.parent.mkdir(exist_ok=True)
    if track.get("streams"):
        return StemMp4Encoder(
            path, sample_rate_hz=audio["sample_rate_hz"], frames=audio["frames"], threads=request["threads"]
        )
    sample_format = request["sample_format"]
    return open_encoder(
        path,
        output=OutputFormat(request["format"]),
        sample_rate_hz=audio["sample_rate_hz"],
        channels=audio["channels"],
        frames=audio["frames"],
        sample_format=SampleFormat(sample_format) if sample_format else SampleFormat.INT24,
        bitrate_kbps=request["bitrate_kbps"],
    )


def _load_cover(cover: dict[str, Any] | None) -> Cover | None:
    if cover is None:
        return None
    return Cover(
        data=Path(cover["path"]).read_bytes(), width_px=int(cover["width_px"]), height_px=int(cover["height_px"])
    )
