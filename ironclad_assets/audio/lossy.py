"""Writes MP3 (LAME), AAC in MP4 (FFmpeg's own encoder) and Opus in Ogg (libopus), through FFmpeg.

A lossy codec adds silence before the audio and fills its last packet after it. What is needed to take both away
again stands in each file: the Info header of MP3, the edit list of MP4, pre-skip and granule position of Ogg.
"""

import contextlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.codec.context import Flags

from ironclad_assets.audio.encoder import Encoder
from ironclad_assets.audio.honest_file import HonestFile
from ironclad_assets.audio.info_header import correct_padding
from ironclad_assets.audio.resample import Samples
from ironclad_assets.contracts.v1.formats import OutputFormat

_BITEXACT_CONTAINER = 0x400
"""AVFMT_FLAG_BITEXACT: no version, no time, no random serial number in the file."""

_AAC_FRAME = 1024
"""An AAC file begins with so much silence that its last sample ends a packet.

The edit list says where the audio begins, and everyone heeds that. That a file ends within a packet it could say
too, but FFmpeg's reader and all that rest on it would not hear of it.
"""

_MP3_FULL_KBPS = 320
_MP3_SHAPED, _MP3_PLAIN = "5", "7"


@dataclass(frozen=True, slots=True)
class _Codec:
    """How FFmpeg calls a format: encoder, muxer, and the layout of samples that the encoder takes."""

    encoder: str
    muxer: str
    samples: str


_CODECS = {
    OutputFormat.MP3: _Codec("libmp3lame", "mp3", "fltp"),
    OutputFormat.M4A: _Codec("aac", "ipod", "fltp"),
    OutputFormat.OPUS: _Codec("libopus", "ogg", "flt"),
}


class LossyEncoder(Encoder):
    """A lossy file being written, on one thread, so that its bytes depend on nothing but the samples."""

    def __init__(
        self, path: Path, *, output: OutputFormat, sample_rate_hz: int, channels: int, frames: int, bitrate_kbps: int
    ) -> None:
        super().__init__(path, clips=True)
        self._output = output
        self._samples = _CODECS[output].samples
        self._layout = "mono" if channels == 1 else "stereo"
        self._time_base = Fraction(1, sample_rate_hz)
        self._at = 0
        self._lead: Samples | None = None
        try:
            self._container = self._open(sample_rate_hz)
            self._stream = self._add_stream(sample_rate_hz, bitrate_kbps=bitrate_kbps)
        except BaseException:
            self._raw.abandon()
            self._raw.raise_error()
            raise
        if output is OutputFormat.M4A:
            self._lead = np.zeros((-frames % _AAC_FRAME, channels), dtype=np.float32)

    def _open(self, sample_rate_hz: int) -> "av.container.OutputContainer":
        options = _muxer_options(self._output, sample_rate_hz=sample_rate_hz)
        container = av.open(self._raw, "w", format=_CODECS[self._output].muxer, options=options)
        container.flags |= _BITEXACT_CONTAINER
        return container

    def _add_stream(self, sample_rate_hz: int, *, bitrate_kbps: int) -> "av.AudioStream":
        options = _codec_options(self._output, bitrate_kbps=bitrate_kbps)
        encoder = _CODECS[self._output].encoder
        stream = cast(  # an audio encoder's name gives an audio stream, which the annotation of a `str` leaves open
            av.AudioStream,
            self._container.add_stream(encoder, rate=sample_rate_hz, layout=self._layout, options=options),
        )
        context = stream.codec_context
        context.format = self._samples
        context.bit_rate = bitrate_kbps * 1000
        context.thread_count = 1
        context.flags |= Flags.bitexact.value
        return stream

    def _write(self, block: Samples) -> None:
        if self._lead is not None:
            lead, self._lead = self._lead, None
            self._at = -len(lead)
            self._write(lead)
        if not len(block):
            return
        planes = np.ascontiguousarray(block.T) if self._samples.endswith("p") else block.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(planes, format=self._samples, layout=self._layout)
        frame.sample_rate = self._time_base.denominator
        frame.time_base = self._time_base
        frame.pts = self._at
        self._at += len(block)
        self._mux(frame)

    def _mux(self, frame: av.AudioFrame | None) -> None:
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def _end(self) -> None:
        self._mux(None)
        self._container.close()

    def _give_up(self) -> None:
        with contextlib.suppress(av.FFmpegError, OSError):
            self._container.close()

    def _amend(self, file: HonestFile) -> None:
        if self._output is OutputFormat.MP3:
            correct_padding(file, frames=self.frames)


def _muxer_options(output: OutputFormat, *, sample_rate_hz: int) -> dict[str, str]:
    if output is OutputFormat.MP3:
        return {"id3v2_version": "0"}
    if output is OutputFormat.OPUS:
        return {"serial_offset": "1"}  # the serial number 0 is legal, but opusinfo warns that some tools stumble on it
    # In milliseconds, its default, an edit list could not say a length to the sample.
    return {"movie_timescale": str(sample_rate_hz)} if output is OutputFormat.M4A else {}


def _codec_options(output: OutputFormat, *, bitrate_kbps: int) -> dict[str, str]:
    """Return the encoder's own options; benchmarks/encoding.py has the measurements behind them.

    LAME's quality 5 is as good as the slower ones. At 320 kbit/s it need not shape its noise at all (7): what is
    left is lower than that of 256 kbit/s with shaping, and a third of the time is saved.
    """
    if output is OutputFormat.MP3:
        return {"compression_level": _MP3_PLAIN if bitrate_kbps >= _MP3_FULL_KBPS else _MP3_SHAPED}
    return {}
