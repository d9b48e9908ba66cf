"""Decode an audio file block by block, in constant memory, whatever it claims about itself.

Opens one demuxer by name and the first audio stream in it; gives float32 blocks and the facts of the
stream. Judging them belongs to `probe`, keeping them to `staging`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
import numpy.typing as npt
from av.stream import Discard

from ironclad_assets.audio import bare, headers, sniff
from ironclad_assets.audio.resample import Samples
from ironclad_assets.errors import ErrorCode, Refusal

BLOCK_FRAMES = 65536
MIN_RATE_HZ, MAX_RATE_HZ = 8000, 384_000
MAX_CHANNELS = 8
_SEEK_INDEX_BYTES = "65536"
"""Nobody seeks here, so FFmpeg need not remember where each packet of a long file was."""

_LOSSLESS = ("pcm", "flac", "alac", "wavpack", "ape", "wmalossless", "tta")
_LOSSY_PCM = ("pcm_mulaw", "pcm_alaw")
_ALAC_DEPTH_OFFSET = 17
RawSamples = npt.NDArray[Any]  # of the decoder's own sample type
_INTEGER_SCALES = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31, "s64": 2.0**63}


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What is known of the stream before decoding; `header_frames` is a claim."""

    kind: sniff.Kind
    codec: str
    sample_rate_hz: int
    layout: tuple[str, ...]
    bit_depth: int | None
    lossless: bool
    header_frames: int | None
    header_possible: bool
    audio_streams: int
    other_streams: int

    @property
    def channels(self) -> int:
        return len(self.layout)


class Decoder:
    """An open audio file; a context manager.

    Attributes:
        facts: the stream's.
        skipped_packets: how many packets could not be decoded so far.
        broke_off: whether the container could not be read to its end; what lies behind is unknown.
    """

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            Refusal: `EMPTY_FILE`, `NOT_AUDIO`, `NO_AUDIO`, `PROTECTED`, `BAD_RATE`, `BAD_CHANNELS`, `DAMAGED`.
        """
        kind = sniff.sniff_file(path)
        if kind is sniff.MP4 and headers.is_encrypted_mp4(path):
            raise Refusal("its audio is stored encrypted", code=ErrorCode.PROTECTED)
        if kind is sniff.MP4 and headers.names_other_file(path):
            raise Refusal("its audio lies in another file, which it only names", code=ErrorCode.DAMAGED)
        claims = headers.read_claims(path, kind=kind)
        _check_rate(claims.sample_rate_hz)
        _check_channels(claims.channels)
        self._bare = bare.open_without_comments(path) if kind is sniff.FLAC else None
        self._container = _open(path, kind, bare_file=self._bare)
        try:
            self._stream = self._choose_stream()
            self.facts = self._read_facts(kind, claims)
        except BaseException:
            self._close()
            raise
        self.skipped_packets = 0
        self.broke_off = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def blocks(self) -> Iterator[Samples]:
        """Yield the audio in blocks of `BLOCK_FRAMES` (the last shorter), shape (frames, channels), float32.

        Raises:
            Refusal: `DAMAGED` where rate, channels or sample format change on the way.
        """
        pending: list[RawSamples] = []
        held = 0
        expected: tuple[str, int, int] | None = None
        for frame in self._frames():
            form = (frame.format.name, frame.sample_rate, frame.layout.nb_channels)
            if expected is None:
                expected = self._expect(form)
            elif form != expected:
                raise Refusal(f"the audio changes from {expected} to {form} on the way", code=ErrorCode.DAMAGED)
            pending.append(_interleaved(frame))
            held += frame.samples
            while held >= BLOCK_FRAMES:
                joined = np.concatenate(pending) if len(pending) > 1 else pending[0]
                yield _as_float(joined[:BLOCK_FRAMES], form=expected[0])
                held -= BLOCK_FRAMES
                pending = [joined[BLOCK_FRAMES:]] if held else []
        if held and expected is not None:
            yield _as_float(np.concatenate(pending), form=expected[0])

    def _expect(self, form: tuple[str, int, int]) -> tuple[str, int, int]:
        """Check the first frame's form against the header and return it."""
        if form[1:] != (self.facts.sample_rate_hz, self.facts.channels):
            promised = f"{self.facts.sample_rate_hz} Hz, {self.facts.channels} channels"
            raise Refusal(f"the header says {promised}, the audio {form[1]} Hz, {form[2]}", code=ErrorCode.DAMAGED)
        return form

    def _frames(self) -> Iterator[av.AudioFrame]:
        """Yield decoded frames; packets that cannot be decoded are counted and left out."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, EOFError):
                return
            except av.FFmpegError:
                self.broke_off = True
                return
            try:
                yield from packet.decode()
            except EOFError:
                return
            except av.FFmpegError:
                self.skipped_packets += 1

    def _close(self) -> None:
        self._container.close()
        if self._bare is not None:
            self._bare.close()

    def _choose_stream(self) -> av.AudioStream:
        usable = [stream for stream in self._container.streams.audio if stream.codec_context is not None]
        if not self._container.streams.audio:
            raise Refusal("the file has no audio stream", code=ErrorCode.NO_AUDIO)
        if not usable:
            raise Refusal("the audio's codec is unknown or its header invalid", code=ErrorCode.DAMAGED)
        chosen = usable[0]
        for stream in self._container.streams:
            if stream.index != chosen.index:
                stream.discard = Discard.all
        return chosen

    def _read_facts(self, kind: sniff.Kind, claims: headers.Claims) -> StreamFacts:
        context = self._stream.codec_context
        rate = context.sample_rate
        _check_rate(rate)
        _check_channels(context.layout.nb_channels)
        codec = context.codec.canonical_name
        lossless = codec.startswith(_LOSSLESS) and codec not in _LOSSY_PCM
        audio_streams = len(self._container.streams.audio)
        return StreamFacts(
            kind=kind,
            codec=codec,
            sample_rate_hz=rate,
            layout=tuple(channel.name for channel in context.layout.channels),
            bit_depth=_bit_depth(context, claims) if lossless else None,
            lossless=lossless,
            header_frames=self._header_frames(kind, claims=claims, rate=rate),
            header_possible=claims.possible,
            audio_streams=audio_streams,
            other_streams=sum(1 for stream in self._container.streams if stream.type == "video"),
        )

    def _header_frames(self, kind: sniff.Kind, *, claims: headers.Claims, rate: int) -> int | None:
        if kind in _SELF_READ or not claims.counted:
            return claims.frames
        if self._stream.duration is not None and self._stream.time_base is not None:
            return max(0, round(self._stream.duration * self._stream.time_base * rate))
        if self._container.duration is not None:
            return max(0, round(self._container.duration * rate / av.time_base))
        return None


_SELF_READ = (sniff.WAV, sniff.FLAC, sniff.AIFF)


def _open(path: Path, kind: sniff.Kind, *, bare_file: bare.BareFile | None = None) -> "av.container.InputContainer":
    options = {"format_whitelist": kind.demuxer, "protocol_whitelist": "file", "indexmem": _SEEK_INDEX_BYTES}
    if kind is sniff.MP4:
        options["format_whitelist"] = "mov,mp4,m4a,3gp,3g2,mj2"
        options["enable_drefs"] = "0"
    elif kind is sniff.MATROSKA:
        options["format_whitelist"] = "matroska,webm"
    elif kind in (sniff.MP3, sniff.ADTS) and (skipped := bare.count_skipped(path)):
        options["skip_initial_bytes"] = str(skipped)
    try:
        source = f"file:{path}" if bare_file is None else bare_file
        return av.open(source, "r", format=kind.demuxer, options=options, metadata_errors="replace")
    except av.FFmpegError as error:
        raise Refusal(f"{kind.container} header: {error.strerror}", code=ErrorCode.DAMAGED) from error


def _check_rate(rate: int | None) -> None:
    # Before decoding: 2 kB that claim 1 Hz take 4 s and 1.8 GB to resample.
    if rate is not None and not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
        raise Refusal(f"the sample rate is {rate} Hz", code=ErrorCode.BAD_RATE)


def _check_channels(channels: int | None) -> None:
    if channels is not None and not 1 <= channels <= MAX_CHANNELS:
        raise Refusal(f"the file has {channels} channels", code=ErrorCode.BAD_CHANNELS)


def _bit_depth(context: "av.AudioCodecContext", claims: headers.Claims) -> int | None:
    if claims.bit_depth is not None:
        return claims.bit_depth
    extradata = context.extradata or b""
    if context.codec.canonical_name == "alac" and len(extradata) > _ALAC_DEPTH_OFFSET:
        return extradata[_ALAC_DEPTH_OFFSET]
    return int(context.format.bits) if context.format is not None else None


def _interleaved(frame: av.AudioFrame) -> RawSamples:
    """Return a frame's samples, shape (frames, channels).

    Raises:
        Refusal: `DAMAGED` where they are of a kind that no song has, such as integers of 64 bits.
    """
    try:
        y = frame.to_ndarray()
    except ValueError as error:
        raise Refusal(f"samples of the kind {frame.format.name} are not supported", code=ErrorCode.DAMAGED) from error
    return y.T if frame.format.is_planar else y.reshape(frame.samples, -1)


def _as_float(y: RawSamples, *, form: str) -> Samples:
    """Return samples of the FFmpeg format `form` as float32 at full scale 1.0, contiguous."""
    name = form.removesuffix("p")
    if name in ("flt", "dbl"):
        return np.ascontiguousarray(y, dtype=np.float32)
    scale = _INTEGER_SCALES[name]
    result = y.astype(np.float32)
    if name == "u8":
        result -= np.float32(scale)
    result *= np.float32(1.0 / scale)
    return np.ascontiguousarray(result)
