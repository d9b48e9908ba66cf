"""What is looked at in every point of the spectrum: five numbers that say what kind of sound it is.

All are logarithms of ratios (or a correlation), so the song's level does not matter. What they mean for a
stem belongs to `scores`.
"""

import numpy as np

from ironclad_spectral.filters import Array, median_of_nine, pool, remedian, unpool
from ironclad_spectral.transform import Spectrum

NAMES = ("percussive", "sustained", "steady", "centred", "repeating")

_SHORT, _LONG = (1, 3, 9), (27,)
"""Reaches in steps of 11.6 ms: together about 0.3 s, then about 0.9 s."""

_ACROSS = (1, 3, 9)
"""Reaches in bins of 21.5 Hz: together about 580 Hz."""

_SIMILAR = 9
_APART = 32
"""Blocks of 23 ms that must lie between a moment and its repetition: 0.75 s."""


def describe(spectrum: Spectrum, *, floor: float) -> tuple[Array, ...]:
    """Return the features of `spectrum`, shape (2, steps, bins), each (steps, bins), in the order of `NAMES`.

    percussive: narrow in time and wide in pitch (drums) against the opposite (notes); FitzGerald 2010.
    sustained: lasting for a second (a synthesiser, a bass) against a third of one (a syllable).
    steady: the typical level of the moment against the level right now; low on attacks.
    centred: correlation of left and right, 0 where they are alike.
    repeating: the level in the nine most similar moments against the level now; low for what happens
        once, as singing does; REPET-SIM, Rafii and Pardo 2012.

    Args:
        spectrum: both channels.
        floor: magnitude below which differences do not count.
    """
    left, right = spectrum
    power_left, power_right = _power(left), _power(right)
    magnitude = np.sqrt(power_left + power_right)
    short = remedian(magnitude, axis=0, reaches=_SHORT)
    across = remedian(magnitude, axis=1, reaches=_ACROSS)
    level, level_short = _log(magnitude, floor), _log(short, floor)
    percussive = _log(across, floor) - level_short
    sustained = _log(remedian(short, axis=0, reaches=_LONG), floor) - level_short
    steady = level_short - level
    return (
        np.clip(percussive, -2.5, 2.5, out=percussive),
        np.clip(sustained, -2.5, 1.0, out=sustained),
        np.clip(steady, -1.5, 1.5, out=steady),
        _centred(spectrum, power=power_left + power_right, floor=floor),
        _repeating(magnitude, floor=floor),
    )


def _power(channel: Spectrum) -> Array:
    power: Array = channel.real**2 + channel.imag**2
    return power


def _log(magnitude: Array, floor: float) -> Array:
    y = magnitude + np.float32(floor)
    np.log(y, out=y)
    return y


def _centred(spectrum: Spectrum, *, power: Array, floor: float) -> Array:
    left, right = spectrum[0], spectrum[1]
    common = 2 * (left.real * right.real + left.imag * right.imag)
    blocks = {"steps": 8, "bins": 8}
    correlation = pool(common, **blocks) / (pool(power, **blocks) + np.float32(64 * floor**2))
    return unpool(correlation - 1, **blocks, shape=power.shape)


def _repeating(magnitude: Array, *, floor: float) -> Array:
    blocks = {"steps": 2, "bins": 4}
    coarse: Array = pool(magnitude, **blocks) * np.float32(1 / 8)
    shape = np.sqrt(coarse)
    shape /= np.linalg.norm(shape, axis=1, keepdims=True) + np.float32(1e-9)
    likeness = shape @ shape.T
    number = np.arange(len(coarse))
    likeness[np.abs(number[:, None] - number) < _APART] = -1.0
    if len(coarse) <= 2 * _APART + _SIMILAR:
        return np.zeros_like(magnitude)
    similar = np.argpartition(-likeness, _SIMILAR, axis=1)[:, :_SIMILAR]
    similar.sort(axis=1)
    background = median_of_nine(coarse[similar.T])
    ratio = _log(background, floor) - _log(coarse, floor)
    return unpool(np.clip(ratio, -1.5, 0.5, out=ratio), **blocks, shape=magnitude.shape)
