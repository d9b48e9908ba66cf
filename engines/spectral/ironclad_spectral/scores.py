"""What the features mean for each stem: a small table, readable and open to argument.

A stem's score in a point of the spectrum is its prior for that pitch plus its weights times the features;
the shares of the stems are the softmax of their scores, so they sum to one. ``other`` is the stem that
the rest is compared with: its score is zero everywhere.

The numbers were found by `benchmarks/fit_spectral.py` on two songs and the demo song; `docs/engines.md`
gives the figures, also those for a song that was kept out. They are few (20 a stem) on purpose.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ironclad_spectral.filters import Array

STEMS = ("vocals", "drums", "bass", "other")

PITCHES_HZ = (40.0, 80.0, 150.0, 250.0, 400.0, 800.0, 1600.0, 3200.0, 6400.0, 12800.0)
"""Where a prior is given; between them it is linear in the logarithm of the pitch."""

LOW_HZ = 250.0
"""Around this pitch the weights change over from `low` to `high`: a kick drum is not a cymbal."""


@dataclass(frozen=True, slots=True)
class Scores:
    """One stem against ``other``: a prior per pitch, and weights in the order of `features.NAMES`."""

    prior: tuple[float, ...]
    low: tuple[float, float, float, float, float]
    high: tuple[float, float, float, float, float]


# The weights' columns: percussive, sustained, steady, centred, repeating
SCORES = {
    "vocals": Scores(
        prior=(0.12, 0.15, 0.18, 0.22, 0.88, 0.87, 0.72, 0.69, 0.45, 0.31),
        low=(0.11, 0.95, 0.26, 0.69, -0.30),
        high=(-0.69, 0.39, -0.44, 0.29, -0.59),
    ),
    "drums": Scores(
        prior=(0.44, 0.28, -0.04, -0.27, 0.07, 0.21, 0.24, 0.20, 0.21, 0.20),
        low=(-0.36, -0.39, -2.12, 0.64, -0.29),
        high=(1.34, 0.29, 0.66, 0.78, 0.69),
    ),
    "bass": Scores(
        prior=(0.64, 0.52, 0.27, -0.04, 0.00, -0.01, 0.02, 0.06, 0.04, 0.01),
        low=(-1.46, 1.21, 0.75, 1.23, 0.07),
        high=(0.54, 0.41, 0.76, 0.84, 0.26),
    ),
}


class Shares:
    """The shares of the stems, for spectra of one resolution."""

    def __init__(self, frequencies_hz: Array) -> None:
        pitch = np.log(np.maximum(frequencies_hz, PITCHES_HZ[0] / 2))
        knots = np.log(np.array(PITCHES_HZ))
        low = 1 / (1 + (frequencies_hz / LOW_HZ) ** 4)
        self._priors = [np.interp(pitch, knots, each.prior).astype(np.float32) for each in SCORES.values()]
        self._weights = [
            [(a * low + b * (1 - low)).astype(np.float32) for a, b in zip(each.low, each.high, strict=True)]
            for each in SCORES.values()
        ]

    def of(self, features: Sequence[Array]) -> list[Array]:
        """Return the shares, each (steps, bins), of all stems but the last, which has what is left."""
        shares = []
        total = np.ones_like(features[0])
        for prior, weights in zip(self._priors, self._weights, strict=True):
            score = np.repeat(prior[None], features[0].shape[0], axis=0)
            for feature, weight in zip(features, weights, strict=True):
                score += feature * weight
            shares.append(np.exp(score, out=score))
            total += score
        for share in shares:
            share /= total
        return shares
