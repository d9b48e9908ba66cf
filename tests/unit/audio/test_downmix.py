"""More than two channels are folded to stereo without losing the centre."""

import numpy as np
import pytest

from ironclad_assets.audio.downmix import downmix_matrix

FIVE_ONE = ("FL", "FR", "FC", "LFE", "BL", "BR")


@pytest.mark.parametrize("layout", [("FL", "FR"), ("FC",), ("NONE", "NONE"), ("DL", "DR")])
def test_one_and_two_channels_stay_as_they_are(layout: tuple[str, ...]) -> None:
    assert downmix_matrix(layout) is None


def test_centre_enters_both_sides_at_minus_three_decibels() -> None:
    """Vocals sit in the centre of a film mix: dropping it would leave nothing to separate."""
    matrix = downmix_matrix(FIVE_ONE)
    assert matrix is not None
    assert matrix[2] == pytest.approx([0.7071, 0.7071], abs=1e-4)


def test_sides_keep_to_their_side_and_low_frequency_is_left_out() -> None:
    matrix = downmix_matrix(FIVE_ONE)
    assert matrix is not None
    assert matrix[0].tolist() == [1.0, 0.0]
    assert matrix[1].tolist() == [0.0, 1.0]
    assert matrix[3].tolist() == [0.0, 0.0]
    assert matrix[4] == pytest.approx([0.7071, 0.0], abs=1e-4)
    assert matrix[5] == pytest.approx([0.0, 0.7071], abs=1e-4)


@pytest.mark.parametrize("count", range(3, 9))
def test_unnamed_channels_take_the_usual_order(count: int) -> None:
    matrix = downmix_matrix(("NONE",) * count)
    assert matrix is not None
    assert matrix.shape == (count, 2)
    assert matrix[0].tolist() == [1.0, 0.0]
    assert np.isfinite(matrix).all()
    assert matrix.sum(axis=0)[0] == pytest.approx(matrix.sum(axis=0)[1])
