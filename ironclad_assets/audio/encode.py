"""Write audio files block by block: FLAC, WAV, MP3. Equal samples give equal bytes.

Tags belong to `tags`, choosing a format to the pipeline. Everything goes through libsndfile, and through a
file object of ours, so that a full disk is reported as the disk's error and not as the encoder's.
"""

import contextlib
import io
import os
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import soundfile

from ironclad_assets.errors import ErrorCode, PermanentFailure

Format = Literal["flac", "wav", "mp3"]
Subtype = Literal["pcm_16", "pcm_24", "float", "mp3_320"]

_SUBTYPES: dict[str, dict[str, str]] = {
    "flac": {"pcm_16": "PCM_16", "pcm_24": "PCM_24"},
    "wav": {"pcm_16": "PCM_16", "pcm_24": "PCM_24", "float": "FLOAT"},
    "mp3": {"mp3_320": "MPEG_LAYER_III"},
}
_DEFAULT_SUBTYPES: dict[str, Subtype] = {"flac": "pcm_24", "wav": "pcm_24", "mp3": "mp3_320"}
_MP3_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_WAV_LIMIT_BYTES = 2**32 - 4096
_SAMPLE_BYTES = {"pcm_16": 2, "pcm_24": 3, "float": 4}
_HEADER_BYTES = 256
_PEAK_TIME_OFFSET = 12
_MP3_320K = 0.0
"""libsndfile's compression level 0 is the highest constant bit rate: 320 kbit/s at 32 kHz and above."""


def open_encoder(
    path: Path,
    *,
    format: Format,
    sample_rate_hz: int,
    channels: int,
    subtype: Subtype | None = None,
    frames: int | None = None,
) -> "Encoder":
    """Open `path` for writing.

    Args:
        path: file to create or replace.
        format: container and codec.
        sample_rate_hz: rate of the samples that will be added. MP3 knows nine rates; see `rate_for`.
        channels: 1 or more; MP3 and the library's formats take 1 or 2.
        subtype: sample format; default 24 bit, for MP3 320 kbit/s.
        frames: expected length; a WAV that would pass 4 GiB is then written as RF64.

    Raises:
        PermanentFailure: `UNKNOWN_FORMAT` for a combination that does not exist.
    """
    chosen = subtype or _DEFAULT_SUBTYPES.get(format, "pcm_24")
    library_subtype = _SUBTYPES.get(format, {}).get(chosen)
    if library_subtype is None:
        raise PermanentFailure(f"{format} with {chosen} is not offered", code=ErrorCode.UNKNOWN_FORMAT)
    if format == "mp3" and sample_rate_hz not in _MP3_RATES_HZ:
        raise PermanentFailure(f"MP3 has no {sample_rate_hz} Hz; resample first", code=ErrorCode.UNKNOWN_FORMAT)
    container = format.upper()
    if format == "wav" and frames is not None and frames * channels * _SAMPLE_BYTES[chosen] > _WAV_LIMIT_BYTES:
        container = "RF64"
    return Encoder(path, container=container, subtype=library_subtype, sample_rate_hz=sample_rate_hz, channels=channels)


def rate_for(sample_rate_hz: int, *, format: Format) -> int:
    """Return the rate at which `format` can hold audio of `sample_rate_hz`: the same, or for MP3 the nearest it has."""
    if format != "mp3":
        return sample_rate_hz
    return next((rate for rate in _MP3_RATES_HZ if rate >= sample_rate_hz), _MP3_RATES_HZ[-1])


class Encoder:
    """An audio file being written; a context manager."""

    def __init__(self, path: Path, *, container: str, subtype: str, sample_rate_hz: int, channels: int) -> None:
        self._raw = _HonestFile(path)
        self._clip = subtype != "FLOAT"
        self._channels = channels
        extra = {"compression_level": _MP3_320K, "bitrate_mode": "CONSTANT"} if container == "MP3" else {}
        try:
            self._file = soundfile.SoundFile(
                self._raw, "w", samplerate=sample_rate_hz, channels=channels, format=container, subtype=subtype, **extra
            )
        except BaseException:
            self._raw.abandon()
            self._raw.raise_error()
            raise
        self.frames = 0
        self.clipped = 0

    def add(self, y: npt.NDArray[np.float32]) -> None:
        """Append a block, shape (channels, frames), full scale 1.0; integer formats clip and count it in `clipped`."""
        block = np.ascontiguousarray(y.T, dtype=np.float32)
        if self._clip:
            self.clipped += int(np.count_nonzero(np.abs(block) > 1.0))
            block = np.clip(block, -1.0, 1.0)
        try:
            self._file.write(block)
        finally:
            self._raw.raise_error()
        self.frames += block.shape[0]

    def close(self) -> None:
        """Finish the file and make it durable."""
        self._file.close()
        try:
            self._raw.raise_error()
        except OSError:
            self._raw.abandon()
            raise
        self._raw.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            with contextlib.suppress(soundfile.LibsndfileError):
                self._file.close()
            self._raw.abandon()


class _HonestFile(io.RawIOBase):
    """A file that remembers the first error of the system, because libsndfile turns each into a riddle."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._stream = path.open("w+b", buffering=0)  # a buffer would report the error somewhere else
        self._path = path
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:  # type: ignore[override]  # libsndfile's caller passes bytes
        written = 0
        try:
            while self.error is None and written < len(data):
                written += self._stream.write(memoryview(data)[written:])
        except OSError as error:
            self.error = error
        return written

    def read(self, size: int = -1) -> bytes:
        return self._stream.read(size)

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # what cffi passes
        return self._stream.readinto(buffer)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def raise_error(self) -> None:
        if self.error is not None:
            raise OSError(self.error.errno, os.strerror(self.error.errno or 0), str(self._path))

    def abandon(self) -> None:
        """Close the file, whatever it holds."""
        self._stream.close()

    def finish(self) -> None:
        """Make the file durable and close it."""
        with self._stream:
            self._forget_time()
            os.fsync(self._stream.fileno())

    def _forget_time(self) -> None:
        """Zero the time of writing that libsndfile puts into the PEAK chunk of a float WAV."""
        self._stream.seek(0)
        peak = self._stream.read(_HEADER_BYTES).find(b"PEAK")
        if self._stream_is_wave() and peak >= 0:
            self._stream.seek(peak + _PEAK_TIME_OFFSET)
            self._stream.write(bytes(4))

    def _stream_is_wave(self) -> bool:
        self._stream.seek(0)
        return self._stream.read(4) in (b"RIFF", b"RF64")
