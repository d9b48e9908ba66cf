"""Refuses sample formats and bit rates that do not go with a file format, in the words of a submission.

What each format can hold is a table of `audio.formats`.
"""

from ironclad_assets.audio.formats import BIT_RATES_KBPS, SAMPLE_FORMATS
from ironclad_assets.contracts.v1.formats import OutputFormat, SampleFormat
from ironclad_assets.errors import ErrorCode, Refusal


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
    if output not in BIT_RATES_KBPS:
        lossy = ", ".join(BIT_RATES_KBPS)
        detail = f"bitrate_kbps {bitrate_kbps} does not go with {output}; only {lossy} have one"
        raise Refusal(detail, code=ErrorCode.BAD_OPTION)
    lowest, highest = BIT_RATES_KBPS[output]
    if not lowest <= bitrate_kbps <= highest:
        detail = f"bitrate_kbps {bitrate_kbps} is not from {lowest} to {highest}, the range of {output}"
        raise Refusal(detail, code=ErrorCode.BAD_OPTION)
