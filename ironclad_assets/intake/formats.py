"""Which sample formats and bit rates go with which file format."""

from ironclad_assets.contracts.v1.options import OutputFormat, SampleFormat
from ironclad_assets.errors import ErrorCode, Refusal

SAMPLE_FORMATS = {
    OutputFormat.FLAC: (SampleFormat.INT16, SampleFormat.INT24),
    OutputFormat.WAV: (SampleFormat.INT16, SampleFormat.INT24, SampleFormat.FLOAT32),
}
"""What the lossless formats can hold; the others have no sample format."""

BITRATES_KBPS = {OutputFormat.MP3: (32, 320), OutputFormat.M4A: (32, 512), OutputFormat.OPUS: (32, 510)}
"""Lowest and highest bit rate of the lossy formats; the others have none to choose."""


def check_sample_format(output: OutputFormat, *, sample_format: SampleFormat) -> None:
    """Raise unless files of the format `output` can hold such samples.

    Raises:
        Refusal: `BAD_OPTION`, naming what is allowed.
    """
    allowed = SAMPLE_FORMATS.get(output, ())
    if sample_format in allowed:
        return
    those = f"it knows {', '.join(allowed)}" if allowed else f"only {', '.join(SAMPLE_FORMATS)} have one"
    raise Refusal(f"sample_format {sample_format} does not go with {output}; {those}", code=ErrorCode.BAD_OPTION)


def check_bitrate(output: OutputFormat, *, bitrate_kbps: int) -> None:
    """Raise unless the format `output` can be written at `bitrate_kbps`.

    Raises:
        Refusal: `BAD_OPTION`, naming what is allowed.
    """
    if output not in BITRATES_KBPS:
        lossy = ", ".join(BITRATES_KBPS)
        detail = f"bitrate_kbps {bitrate_kbps} does not go with {output}; only {lossy} have one"
        raise Refusal(detail, code=ErrorCode.BAD_OPTION)
    lowest, highest = BITRATES_KBPS[output]
    if not lowest <= bitrate_kbps <= highest:
        detail = f"bitrate_kbps {bitrate_kbps} is not from {lowest} to {highest}, the range of {output}"
        raise Refusal(detail, code=ErrorCode.BAD_OPTION)
