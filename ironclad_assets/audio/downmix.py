"""Bring any channel layout to one or two channels, keeping the centre.

Coefficients of ITU-R BS.775: centre and surrounds enter both sides at -3 dB, the low-frequency channel is
left out. Levels are not rescaled: staged audio is float and may exceed full scale.
"""

import math

import numpy as np
import numpy.typing as npt

_MINUS_3_DB = math.sqrt(0.5)
_LEFT = {"FL": 1.0, "FLC": 1.0, "BL": _MINUS_3_DB, "SL": _MINUS_3_DB, "DL": 1.0, "WL": 1.0}
_RIGHT = {"FR": 1.0, "FRC": 1.0, "BR": _MINUS_3_DB, "SR": _MINUS_3_DB, "DR": 1.0, "WR": 1.0}
_BOTH = {"FC": _MINUS_3_DB, "BC": 0.5, "TC": 0.5}
_USUAL = {
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "BL", "BR"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
"""Channel order where the file names none: that of WAVE, which FLAC and most others follow."""


def downmix_matrix(layout: tuple[str, ...]) -> npt.NDArray[np.float32] | None:
    """Return the matrix of shape (channels, 2) that mixes `layout` to stereo, or None for 1 or 2 channels.

    Args:
        layout: channel names as FFmpeg spells them; unknown names fall back on the usual order.
    """
    count = len(layout)
    if count <= 2:
        return None
    names = layout if any(name in _LEFT for name in layout) else _USUAL.get(count, ())
    matrix = np.zeros((count, 2), dtype=np.float32)
    for index, name in enumerate(names):
        matrix[index] = (_LEFT.get(name, _BOTH.get(name, 0.0)), _RIGHT.get(name, _BOTH.get(name, 0.0)))
    return matrix
