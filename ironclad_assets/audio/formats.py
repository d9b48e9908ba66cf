"""What each delivered format can hold: sample rates, sample formats, bit rates. Numbers only, no media library.

The rooms decide with it what is delivered; files of these formats are written in `encode`.
"""

from ironclad_assets.contracts.v1.formats import OutputFormat, SampleFormat
from ironclad_assets.errors import ErrorCode, Refusal

_NAMES = {
    OutputFormat.FLAC: "FLAC",
    OutputFormat.WAV: "WAV",
    OutputFormat.MP3: "MP3",
    OutputFormat.M4A: "AAC",
    OutputFormat.OPUS: "Opus",
}
SAMPLE_FORMATS = {
    OutputFormat.FLAC: (SampleFormat.INT16, SampleFormat.INT24),
    OutputFormat.WAV: (SampleFormat.INT16, SampleFormat.INT24, SampleFormat.FLOAT32),
}
"""What the lossless formats can hold; the others have no sample format."""

BIT_RATES_KBPS = {OutputFormat.MP3: (32, 320), OutputFormat.M4A: (32, 512), OutputFormat.OPUS: (32, 510)}
"""Lowest and highest bit rate that can be asked of the lossy formats; the others have none."""

_RATES_HZ = {
    OutputFormat.MP3: (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    OutputFormat.M4A: (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000),
    OutputFormat.OPUS: (48000,),
}
"""Rates of the formats that do not know all: ISO 11172-3 and 13818-3 with MPEG 2.5, ISO 14496-3, RFC 6716."""

_MP3_BIT_RATES = (
    (16000, (8, 16, 24, 32, 40, 48, 56, 64)),
    (32000, (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)),
    (10**9, (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)),
)
"""Constant bit rates in kbit/s below each sample rate: MPEG 2.5 (as far as LAME goes), MPEG 2, MPEG 1."""

_AAC_DEFAULT_KBPS, _AAC_DEFAULT_BITS_PER_SAMPLE = 128, 3
_AAC_MOST_BITS_PER_SAMPLE = 6
"""6144 bits for a frame of 1024 samples of one channel: ISO 14496-3."""

_OPUS_DEFAULT_KBPS, _OPUS_MOST_KBPS = 96, 256


def format_name(output: OutputFormat) -> str:
    """Return what people call the format: the codec for those that compress."""
    return _NAMES[output]


def is_lossless(output: OutputFormat) -> bool:
    """Return whether the format keeps samples as they are, and so has a sample format instead of a bit rate."""
    return output in SAMPLE_FORMATS


def rate_for(sample_rate_hz: int, *, output: OutputFormat) -> int:
    """Return the rate at which `output` can hold such audio: the same, else the next above, else its highest."""
    rates = _RATES_HZ.get(output)
    if rates is None:
        return sample_rate_hz
    return next((rate for rate in rates if rate >= sample_rate_hz), rates[-1])


def dj_rate_for(sample_rate_hz: int) -> int:
    """Return the rate of a file for DJ programs: 44.1 kHz for what is a multiple or a part of it, else 48 kHz.

    Those two every one of them reads; higher ones only some do.
    """
    return 44_100 if sample_rate_hz % 11_025 == 0 else 48_000


def check_sample_format(sample_format: SampleFormat, *, output: OutputFormat) -> None:
    """Check that a lossless `output` can hold samples of that kind; others have none, which is no error.

    Raises:
        Refusal: `UNKNOWN_FORMAT`.
    """
    offered = SAMPLE_FORMATS.get(output, (sample_format,))
    if sample_format not in offered:
        raise Refusal(
            f"{format_name(output)} holds {' or '.join(offered)}, not {sample_format}", code=ErrorCode.UNKNOWN_FORMAT
        )


def bit_rate_for(bitrate_kbps: int | None, *, output: OutputFormat, sample_rate_hz: int, channels: int) -> int:
    """Return the bit rate, in kbit/s, of a lossy file of all `channels`.

    Args:
        bitrate_kbps: what was asked for; the highest that exists and is not above it is taken, or the lowest
            that exists. None for the default: MP3 320 (the highest there is), AAC 128 and Opus 96 for each channel.
        output: a lossy format.
        sample_rate_hz: one that the format knows.
        channels: 1 or 2.
    """
    if output is OutputFormat.MP3:
        rates = next(rates for below_hz, rates in _MP3_BIT_RATES if sample_rate_hz < below_hz)
        return max((rate for rate in rates if bitrate_kbps is None or rate <= bitrate_kbps), default=rates[0])
    if output is OutputFormat.OPUS:
        return min(bitrate_kbps or _OPUS_DEFAULT_KBPS * channels, _OPUS_MOST_KBPS * channels)
    usual = min(_AAC_DEFAULT_KBPS, _AAC_DEFAULT_BITS_PER_SAMPLE * sample_rate_hz // 1000) * channels
    return min(bitrate_kbps or usual, _AAC_MOST_BITS_PER_SAMPLE * sample_rate_hz * channels // 1000)
