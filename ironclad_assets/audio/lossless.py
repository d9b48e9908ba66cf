"""Writes FLAC and WAV through libsndfile. Beyond 4 GiB a WAV is an RF64."""

import contextlib
from pathlib import Path

import soundfile

from ironclad_assets.audio.encoder import Encoder
from ironclad_assets.audio.honest_file import HonestFile
from ironclad_assets.audio.resample import Samples
from ironclad_assets.contracts.v1.formats import OutputFormat, SampleFormat

_SUBTYPES = {SampleFormat.INT16: "PCM_16", SampleFormat.INT24: "PCM_24", SampleFormat.FLOAT32: "FLOAT"}
_SAMPLE_BYTES = {SampleFormat.INT16: 2, SampleFormat.INT24: 3, SampleFormat.FLOAT32: 4}
_WAV_LIMIT_BYTES = 2**32 - 64 * 1024**2
"""Audio beyond this goes into an RF64: the sizes of a RIFF have 32 bits, and tags and cover need room too."""

_HEADER_BYTES = 256
_PEAK_TIME_OFFSET = 12


class LosslessEncoder(Encoder):
    """A FLAC or WAV file being written."""

    def __init__(
        self,
        path: Path,
        *,
        output: OutputFormat,
        sample_format: SampleFormat,
        sample_rate_hz: int,
        channels: int,
        frames: int,
    ) -> None:
        super().__init__(path, clips=sample_format is not SampleFormat.FLOAT32)
        large = frames * channels * _SAMPLE_BYTES[sample_format] > _WAV_LIMIT_BYTES
        try:
            self._file = soundfile.SoundFile(
                self._raw,
                "w",
                samplerate=sample_rate_hz,
                channels=channels,
                format="FLAC" if output is OutputFormat.FLAC else "RF64" if large else "WAV",
                subtype=_SUBTYPES[sample_format],
            )
        except BaseException:
            self._raw.abandon()
            self._raw.raise_error()
            raise

    def _write(self, block: Samples) -> None:
        self._file.write(block)

    def _end(self) -> None:
        self._file.close()

    def _give_up(self) -> None:
        with contextlib.suppress(soundfile.LibsndfileError):
            self._file.close()

    def _amend(self, file: HonestFile) -> None:
        """Zero the time of writing that libsndfile puts into the PEAK chunk of a float WAV."""
        file.seek(0)
        head = file.read(_HEADER_BYTES)
        peak = head.find(b"PEAK")
        if head.startswith((b"RIFF", b"RF64")) and peak >= 0:
            file.seek(peak + _PEAK_TIME_OFFSET)
            file.write(bytes(4))
