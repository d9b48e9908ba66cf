"""Write audio files block by block: FLAC, WAV, MP3, AAC, Opus. Equal samples give equal bytes.

Tags belong to `embed`, choosing a format to the pipeline, what a format can hold to `formats`. Lossless files are
written by libsndfile (`lossless`), lossy ones by FFmpeg (`lossy`), all through a file object of ours, so that a
full disk is reported as the disk's error and not as the encoder's.
"""

from pathlib import Path

from ironclad_assets.audio.encoder import Encoder
from ironclad_assets.audio.formats import bit_rate_for, check_sample_format, is_lossless, rate_for
from ironclad_assets.audio.lossless import LosslessEncoder
from ironclad_assets.audio.lossy import LossyEncoder
from ironclad_assets.contracts.v1.formats import OutputFormat, SampleFormat
from ironclad_assets.errors import ErrorCode, PermanentFailure


def open_encoder(
    path: Path,
    *,
    output: OutputFormat,
    sample_rate_hz: int,
    channels: int,
    frames: int,
    sample_format: SampleFormat = SampleFormat.INT24,
    bitrate_kbps: int | None = None,
) -> Encoder:
    """Open `path` for writing.

    Args:
        path: file to create or replace.
        output: container and codec.
        sample_rate_hz: rate of the samples that will be added, one that the format knows; see `formats.rate_for`.
        channels: 1 or 2; lossless formats also take more.
        frames: length of what will be added. A WAV that would pass 4 GiB is written as RF64; AAC is exact to the
            sample only where the promise is kept.
        sample_format: of lossless formats.
        bitrate_kbps: of lossy formats, see `formats.bit_rate_for`.

    Raises:
        PermanentFailure: `UNKNOWN_FORMAT` for a rate that the format does not know.
        Refusal: `UNKNOWN_FORMAT` for a sample format that it cannot hold.
        OSError: the file cannot be written.
    """
    if rate_for(sample_rate_hz, output=output) != sample_rate_hz:
        raise PermanentFailure(f"{output} has no {sample_rate_hz} Hz; resample first", code=ErrorCode.UNKNOWN_FORMAT)
    if is_lossless(output):
        check_sample_format(sample_format, output=output)
        return LosslessEncoder(
            path,
            output=output,
            sample_format=sample_format,
            sample_rate_hz=sample_rate_hz,
            channels=channels,
            frames=frames,
        )
    kbps = bit_rate_for(bitrate_kbps, output=output, sample_rate_hz=sample_rate_hz, channels=channels)
    return LossyEncoder(
        path, output=output, sample_rate_hz=sample_rate_hz, channels=channels, frames=frames, bitrate_kbps=kbps
    )
