"""Writes files for DJ programs: the mixture and four stems as five stereo streams of AAC in one MP4.

The layout is Native Instruments': the mixture is the first stream and the one that players play, the stems are
switched off for them, and `stem_mp4_atom` says what they are. Which stems there are is decided in the pipeline,
what is mixed of what in `mixing`.
"""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.codec.context import Flags
from av.stream import Disposition

from ironclad_assets.audio.encoder import Encoder
from ironclad_assets.audio.honest_file import HonestFile
from ironclad_assets.audio.resample import Samples
from ironclad_assets.audio.stem_mp4_atom import STEM_COLORS, add_stem_atom, read_stem_atom

STREAMS = ("Mixdown", *STEM_COLORS)
"""What the streams are called, in their order."""

STEREO = 2
BIT_RATE_KBPS = 256
"""Of each stream, as Native Instruments' own tool writes them."""

_BITEXACT_CONTAINER = 0x400
"""AVFMT_FLAG_BITEXACT: no version and no time in the file."""

_AAC_FRAME = 1024
_CHUNK_US = 500_000
"""Audio of one stream that lies together in the file: a player of all five need not jump for every packet."""


class StemMp4Encoder(Encoder):
    """A stem file being written: takes ten channels, two for each of `STREAMS`.

    All streams begin with the same silence before their first sample, so that their last one ends a packet, and
    have the same edit list, which takes it away again (see `lossy`): they are as long as what was added, and in
    step with each other to the sample. Streams are encoded on several threads, which cannot show in the bytes: a
    stream is encoded in its order, and the packets of a block are written in the order of the streams.
    """

    def __init__(self, path: Path, *, sample_rate_hz: int, frames: int, threads: int) -> None:
        super().__init__(path, clips=True)
        self._time_base = Fraction(1, sample_rate_hz)
        self._at = -(-frames % _AAC_FRAME)
        self._lead = np.zeros((-self._at, STEREO * len(STREAMS)), dtype=np.float32)
        self._pool = ThreadPoolExecutor(max_workers=max(1, min(threads, len(STREAMS))))
        try:
            options = {"movie_timescale": str(sample_rate_hz), "chunk_duration": str(_CHUNK_US)}
            self._container = av.open(self._raw, "w", format="ipod", options=options)
            self._container.flags |= _BITEXACT_CONTAINER
            self._streams = [self._add_stream(name, sample_rate_hz=sample_rate_hz) for name in STREAMS]
        except BaseException:
            self._pool.shutdown()
            self._raw.abandon()
            self._raw.raise_error()
            raise
        self._streams[0].disposition = Disposition.default

    def _add_stream(self, name: str, *, sample_rate_hz: int) -> "av.AudioStream":
        stream = self._container.add_stream("aac", rate=sample_rate_hz, layout="stereo")
        context = stream.codec_context
        context.format = "fltp"
        context.bit_rate = BIT_RATE_KBPS * 1000
        context.thread_count = 1
        context.flags |= Flags.bitexact.value
        stream.metadata["handler_name"] = name
        return stream

    def _write(self, block: Samples) -> None:
        if len(self._lead):
            block, self._lead = np.concatenate((self._lead, block)), self._lead[:0]
        if not len(block):
            return
        frames = [self._frame(block[:, STEREO * at : STEREO * (at + 1)]) for at in range(len(STREAMS))]
        self._at += len(block)
        self._mux(frames)

    def _frame(self, y: Samples) -> av.AudioFrame:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(y.T), format="fltp", layout="stereo")
        frame.sample_rate = self._time_base.denominator
        frame.time_base = self._time_base
        frame.pts = self._at
        return frame

    def _mux(self, frames: list[av.AudioFrame] | list[None]) -> None:
        encoded = list(self._pool.map(lambda stream, frame: stream.encode(frame), self._streams, frames))
        for packets in encoded:
            for packet in packets:
                self._container.mux(packet)

    def _end(self) -> None:
        self._mux([None] * len(STREAMS))
        self._pool.shutdown()
        self._container.close()

    def _give_up(self) -> None:
        self._pool.shutdown()
        with contextlib.suppress(av.FFmpegError, OSError):
            self._container.close()

    def _amend(self, file: HonestFile) -> None:
        add_stem_atom(file)


def inspect_stem_mp4(path: Path) -> dict[str, Any]:
    """Return what a player will find: ``frames``, ``sample_rate_hz`` and ``channels`` of the streams, as decoded.

    A file that is no stem file (other streams than five alike, another one that is played by itself, or no
    atom) has 0 frames.
    """
    with av.open(f"file:{path}", format="mp4", options={"protocol_whitelist": "file"}) as container:
        streams = container.streams.audio
        frames = dict.fromkeys((stream.index for stream in streams), 0)
        for packet in container.demux(*streams):
            frames[packet.stream_index] += sum(frame.samples for frame in cast(list[av.AudioFrame], packet.decode()))
        kinds = {(one.codec_context.sample_rate, one.codec_context.channels) for one in streams}
        played = [bool(Disposition.default & one.disposition) for one in streams]
    with path.open("rb") as file:
        manifest = read_stem_atom(file)
    stems = manifest.get("stems") if manifest else None
    whole = (
        played == [True] + [False] * len(STEM_COLORS)
        and len(kinds) == len(set(frames.values())) == 1
        and isinstance(stems, list)
        and len(stems) == len(STEM_COLORS)
    )
    sample_rate_hz, channels = min(kinds)
    return {"frames": min(frames.values()) if whole else 0, "sample_rate_hz": sample_rate_hz, "channels": channels}
