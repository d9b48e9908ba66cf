"""Median filters made of medians of three: a handful of minima and maxima each, whatever the reach.

A cascade of medians of three whose taps lie 1, 3, 9, ... apart approximates the median of 3, 9, 27, ...
neighbours (the remedian, Rousseeuw and Bassett 1990) at a fraction of the cost of sorting.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def remedian(x: Array, *, axis: int, reaches: tuple[int, ...]) -> Array:
    """Return `x`, shape (steps, bins), after one median of three along `axis` per reach in `reaches`."""
    for reach in reaches:
        x = _median_of_three(x, axis=axis, reach=reach)
    return x


def _median_of_three(x: Array, *, axis: int, reach: int) -> Array:
    pad = [(0, 0), (0, 0)]
    pad[axis] = (reach, reach)
    padded = np.pad(x, pad, mode="edge")
    size = x.shape[axis]
    before = padded[:size] if axis == 0 else padded[:, :size]
    after = padded[2 * reach :] if axis == 0 else padded[:, 2 * reach :]
    low, high = np.minimum(before, after), np.maximum(before, after)
    return np.maximum(low, np.minimum(x, high, out=high), out=low)


def median_of_nine(x: Array) -> Array:
    """Return the remedian over the first axis of `x`, shape (9, ...): the median of three medians."""
    return _middle(*(_middle(x[first], x[first + 1], x[first + 2]) for first in (0, 3, 6)))


def _middle(a: Array, b: Array, c: Array) -> Array:
    return np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))


def pool(x: Array, *, steps: int, bins: int) -> Array:
    """Return the sums of `x` over blocks of `steps` by `bins`; a last, partial block counts as it is."""
    padded = np.pad(x, ((0, -x.shape[0] % steps), (0, -x.shape[1] % bins)))
    blocks: Array = padded.reshape(padded.shape[0] // steps, steps, -1, bins).sum(axis=(1, 3))
    return blocks


def unpool(x: Array, *, steps: int, bins: int, shape: tuple[int, int]) -> Array:
    """Return `x` with every value repeated over its block, cut to `shape`."""
    return np.repeat(np.repeat(x, steps, axis=0), bins, axis=1)[: shape[0], : shape[1]]
