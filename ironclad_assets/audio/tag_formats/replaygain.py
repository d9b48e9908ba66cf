"""The fields that tell a player how loud a delivered track is, computed from its measured levels.

ReplayGain 2.0 aims at -18 LUFS; Opus has a field of its own, which aims at -23 LUFS (RFC 7845, section 5.2.1, by
which ReplayGain's own fields do not belong into Opus). How levels are measured, `audio.levels` knows.
"""

from collections.abc import Mapping
from typing import Any

_REPLAYGAIN_LUFS = -18.0
_R128_LUFS = -23.0
_Q78 = 256
_R128_RANGE = (-32768, 32767)


def replaygain_fields(levels: Mapping[str, Any], *, opus: bool) -> dict[str, tuple[str, ...]]:
    """Return the fields of a track; none for one that is silent.

    Args:
        levels: ``loudness_lufs`` and ``true_peak_dbtp``, None where silent, ``peak`` (full scale 1.0).
        opus: whether the track is Opus.
    """
    loudness_lufs, true_peak_dbtp = levels["loudness_lufs"], levels["true_peak_dbtp"]
    if loudness_lufs is None:
        return {}
    if opus:
        lowest, highest = _R128_RANGE
        gain = round((_R128_LUFS - loudness_lufs) * _Q78)
        return {"R128_TRACK_GAIN": (str(min(max(gain, lowest), highest)),)}
    peak = levels["peak"] if true_peak_dbtp is None else 10 ** (true_peak_dbtp / 20)
    return {
        "REPLAYGAIN_TRACK_GAIN": (f"{_REPLAYGAIN_LUFS - loudness_lufs:.2f} dB",),
        "REPLAYGAIN_TRACK_PEAK": (f"{peak:.6f}",),
    }
