"""What each format can hold: rates, sample formats, bit rates."""

import pytest

from ironclad_assets.audio.formats import bit_rate_for, check_sample_format, is_lossless, rate_for
from ironclad_assets.contracts.v1.formats import OutputFormat, SampleFormat
from ironclad_assets.errors import ErrorCode, IroncladError

RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)


@pytest.mark.parametrize(
    ("sr", "form", "want"),
    [(96_000, "flac", 96_000), (384_000, "wav", 384_000), (96_000, "mp3", 48_000), (40_000, "mp3", 44_100),
     (96_000, "m4a", 96_000), (192_000, "m4a", 96_000), (37_800, "m4a", 44_100), (8_000, "opus", 48_000),
     (192_000, "opus", 48_000)],
)  # fmt: skip
def test_rate_for_names_what_the_format_can_hold(sr: int, form: str, want: int) -> None:
    assert rate_for(sr, output=OutputFormat(form)) == want


@pytest.mark.parametrize("form", ["mp3", "m4a", "opus"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("asked", [None, 32, 100, 192, 320, 512])
def test_bit_rates_never_exceed_what_was_asked_for_nor_what_exists(form: str, channels: int, asked: int | None) -> None:
    output = OutputFormat(form)
    assert not is_lossless(output)
    for rate in sorted({rate_for(rate, output=output) for rate in RATES_HZ}):
        got = bit_rate_for(asked, output=output, sample_rate_hz=rate, channels=channels)
        assert 8 <= got <= (asked or 320)


def test_float_samples_are_for_wav_alone_and_lossy_formats_do_not_care() -> None:
    check_sample_format(SampleFormat.FLOAT32, output=OutputFormat.WAV)
    check_sample_format(SampleFormat.FLOAT32, output=OutputFormat.MP3)
    with pytest.raises(IroncladError, match="FLAC holds int16 or int24, not float32") as caught:
        check_sample_format(SampleFormat.FLOAT32, output=OutputFormat.FLAC)
    assert caught.value.code is ErrorCode.UNKNOWN_FORMAT
