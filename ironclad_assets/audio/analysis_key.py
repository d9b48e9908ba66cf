"""The key of a song: how strong each pitch class is, compared with the profiles of all 24 keys.

Pitch classes are collected block by block at a tenth of a semitone, so that the song's own tuning shows and is
followed. The comparison is that of Krumhansl and Schmuckler (Krumhansl, "Cognitive Foundations of Musical Pitch",
1990); what is no clearer than noise gives no key.
"""

from dataclasses import dataclass

import librosa
import numpy as np
import numpy.typing as npt

from ironclad_assets.audio.analysis_spectra import Grid, Power, PowerSpectra
from ironclad_assets.audio.resample import Samples

TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
LEAST_CONFIDENCE = 0.15

_GRID = Grid(rate_hz=11_025, n_fft=4_096, hop=1_024)
_LOWEST_HZ, _HIGHEST_HZ = 55.0, 1_760.0
_LEAST_HEIGHT = 0.1
_QUIET = 1e-6
_FINE = 10
_DOUBT = 0.05
"""Difference of two correlations at which one key is believed e times as much as another."""

_IN_TUNE = 0.2
"""How far pitches gather around twelve steps, 0 to 1, in music that holds a tuning; noise stays below 0.03."""

_AUDIBLE = 0.1
_LEAST_CLASSES = 3
"""Pitch classes, a tenth as strong as the strongest, that it takes to tell a key."""

_CLASSES = 12
_PROFILES = (
    (
        0.7,
        {
            "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
            "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
        },
    ),
    (
        0.3,
        {
            "major": (0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.080, 0.008, 0.081),
            "minor": (0.220, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052),
        },
    ),
)
"""Weight and profiles, from the tonic upwards: ratings of Krumhansl and Kessler (1982), which fit minor without its
raised seventh, and note counts of Albrecht and Shanahan (2013), which fit it with it."""

Chroma = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FoundKey:
    """Tonic, mode and Camelot code, or None for each; how clear the key is (0..1); the song's tuning in cents."""

    tonic: str | None
    mode: str | None
    camelot: str | None
    confidence: float
    tuning_cents: float | None


class PitchMeter:
    """How strong each pitch class of one stream is, in tenths of a semitone from C upwards."""

    def __init__(self, *, sr: int, channels: int, gain: float) -> None:
        self._spectra = PowerSpectra(_GRID, sr=sr, channels=channels, gain=gain)
        self._total = np.zeros(_CLASSES * _FINE)

    def add(self, y: Samples) -> None:
        """Take the next block, shape (channels, frames), finite."""
        for power in self._spectra.add(y):
            self._count(power)

    def result(self) -> Chroma:
        """Return the strengths, shape (120,). Call it once, last."""
        for power in self._spectra.finish():
            self._count(power)
        return self._total

    def _count(self, power: Power) -> None:
        """Add the spectral peaks of some frames, each by its height relative to its frame's highest."""
        pitches, heights = librosa.piptrack(
            S=np.sqrt(power), sr=_GRID.rate_hz, fmin=_LOWEST_HZ, fmax=_HIGHEST_HZ, threshold=_LEAST_HEIGHT
        )
        heights = heights / np.maximum(heights.max(axis=0), _QUIET)
        found = pitches > 0.0
        steps = np.rint(librosa.hz_to_midi(pitches[found]) * _FINE).astype(np.int64)
        self._total += np.bincount(steps % len(self._total), weights=heights[found], minlength=len(self._total))


def find_key(strengths: Chroma) -> FoundKey:
    """Return the key that pitch classes of these strengths are in.

    Args:
        strengths: of `PitchMeter`.
    """
    total = float(strengths.sum())
    if total <= 0.0:
        return FoundKey(tonic=None, mode=None, camelot=None, confidence=0.0, tuning_cents=None)
    turns = np.exp(2j * np.pi * np.arange(len(strengths)) / _FINE)
    centre = complex(strengths @ turns) / total
    offset = float(np.angle(centre)) * _FINE / (2 * np.pi)
    classes = np.rint((np.arange(len(strengths)) - offset) / _FINE).astype(np.int64) % _CLASSES
    chroma = np.bincount(classes, weights=strengths, minlength=_CLASSES).astype(np.float64)
    fits = [(mode, tonic) for mode in ("major", "minor") for tonic in range(_CLASSES)]
    alike = np.array([_likeness(chroma, tonic=tonic, mode=mode) for mode, tonic in fits])
    beliefs = np.exp((alike - alike.max()) / _DOUBT)
    several = np.count_nonzero(chroma >= _AUDIBLE * chroma.max()) >= _LEAST_CLASSES
    confidence = float(beliefs.max() / beliefs.sum()) * min(1.0, abs(centre) / _IN_TUNE) * several
    if confidence < LEAST_CONFIDENCE:
        return FoundKey(tonic=None, mode=None, camelot=None, confidence=confidence, tuning_cents=None)
    mode, tonic = fits[int(alike.argmax())]
    return FoundKey(
        tonic=TONICS[tonic],
        mode=mode,
        camelot=camelot_code(tonic, mode=mode),
        confidence=confidence,
        tuning_cents=100.0 * offset / _FINE,
    )


def _likeness(chroma: Chroma, *, tonic: int, mode: str) -> float:
    """Return the correlation of twelve pitch classes with the profiles of a key, -1..1."""
    return float(
        sum(weight * np.corrcoef(np.roll(profile[mode], tonic), chroma)[0, 1] for weight, profile in _PROFILES)
    )


def camelot_code(tonic: int, *, mode: str) -> str:
    """Return the code on the Camelot wheel, where neighbours are a fifth apart: A minor is 8A, C major 8B."""
    major = tonic if mode == "major" else tonic + 3
    return f"{(7 * major + 7) % _CLASSES + 1}{'B' if mode == 'major' else 'A'}"
