"""Tempo and beats of a song: onset strength from its spectra, then tempo and beat tracking by librosa.

The onset strength is collected block by block (a few hundred numbers a second stay of the audio), so ten hours
take no more memory than their onsets. Beat tracking is the dynamic programme of Ellis, "Beat Tracking by Dynamic
Programming" (2007), in librosa's version. What cannot be heard as a beat gives no tempo and no beats.
"""

import math
from dataclasses import dataclass

import librosa
import numpy as np
import numpy.typing as npt

from ironclad_assets.audio.analysis_spectra import Grid, Power, PowerSpectra
from ironclad_assets.audio.resample import Samples

LEAST_BEATS = 4

_GRID = Grid(rate_hz=22_050, n_fft=2_048, hop=256)
_MELS = 128
_FLOOR_POWER = 1e-4
_LOUDEST = 2.0
_WINDOW_S = 8.0
_START_BPM = 120.0
_FASTEST_BPM = 320.0
_DELAY_S = 0.024
"""What the onsets are early: half of it for slow attacks, and as much more for sharp ones."""

_UNEVEN = 0.175
_CHANCE, _CHANCE_OF_SHORT = 0.08, 0.4
"""How alike the onsets of noise may be to themselves by chance: the first, and the second by the root of seconds."""

_CLEAR = 0.6
"""How alike those of a song with plain drums are: full confidence."""

_STEADY_S = 0.025
_SPAN = 8

Onsets = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Tempo in BPM or None, how clear it is (0..1), and the beats in seconds."""

    bpm: float | None
    confidence: float
    beats_s: tuple[float, ...]


class OnsetMeter:
    """Onset strength of one stream: how much louder, in dB, the median mel band has become since the last frame."""

    def __init__(self, *, sr: int, channels: int, gain: float) -> None:
        self._spectra = PowerSpectra(_GRID, sr=sr, channels=channels, gain=gain)
        self._mel = librosa.filters.mel(sr=_GRID.rate_hz, n_fft=_GRID.n_fft, n_mels=_MELS)
        self._last = np.full((_MELS, 1), _decibels(np.zeros(1, dtype=np.float32))[0], dtype=np.float32)
        self._parts: list[npt.NDArray[np.float32]] = []

    def add(self, y: Samples) -> None:
        """Take the next block, shape (channels, frames), finite."""
        for power in self._spectra.add(y):
            self._parts.append(self._strength(power))

    def result(self) -> Onsets:
        """Return the onset strength of every frame. Call it once, last."""
        for power in self._spectra.finish():
            self._parts.append(self._strength(power))
        onsets = np.concatenate(self._parts).astype(np.float64) if self._parts else np.zeros(0)
        heard = onsets[onsets > 0.0]
        # The start of the file itself, or of a part after silence, must not outweigh everything that follows.
        return np.minimum(onsets, _LOUDEST * np.percentile(heard, 95.0)) if len(heard) else onsets

    def _strength(self, power: Power) -> npt.NDArray[np.float32]:
        bands = np.concatenate((self._last, _decibels(self._mel @ power)), axis=1)
        self._last = bands[:, -1:]
        rises = librosa.onset.onset_strength_multi(S=bands, lag=1, center=False, channels=None, aggregate=np.median)
        return np.asarray(rises[0, 1:], dtype=np.float32)


def find_rhythm(onsets: Onsets, *, duration_s: float) -> Rhythm:
    """Return tempo and beats of a song with this onset strength.

    Args:
        onsets: of `OnsetMeter`.
        duration_s: length of the song; no beat lies outside.
    """
    pulse = _mean_autocorrelation(onsets)
    if pulse is None:
        return Rhythm(bpm=None, confidence=0.0, beats_s=())
    guess = float(
        librosa.feature.tempo(
            tg=np.maximum(pulse, 0.0)[:, np.newaxis],
            sr=_GRID.rate_hz,
            hop_length=_GRID.hop,
            start_bpm=_START_BPM,
            max_tempo=_FASTEST_BPM,
        )[0]
    )
    clear = float(pulse[round(60.0 * _GRID.frames_per_s / guess)])
    chance = _CHANCE + _CHANCE_OF_SHORT / math.sqrt(duration_s)
    confidence = min(1.0, max(0.0, (clear - chance) / (_CLEAR - chance))) if chance < _CLEAR else 0.0
    if not confidence:
        return Rhythm(bpm=None, confidence=0.0, beats_s=())
    _, frames = librosa.beat.beat_track(
        onset_envelope=onsets, sr=_GRID.rate_hz, hop_length=_GRID.hop, bpm=guess, trim=True
    )
    times = _without_stragglers(frames / _GRID.frames_per_s + _DELAY_S)
    times = times[times < duration_s]
    if len(times) < LEAST_BEATS:
        return Rhythm(bpm=None, confidence=0.0, beats_s=())
    return Rhythm(bpm=tempo_of(times), confidence=confidence, beats_s=tuple(float(time) for time in times))


def tempo_of(beats_s: npt.NDArray[np.float64]) -> float:
    """Return the BPM of beats: by a straight line through them where the tempo is steady, else their middle half."""
    counts = np.arange(len(beats_s))
    slope, start = np.polyfit(counts, beats_s, 1)
    if np.sqrt(np.mean(np.square(beats_s - start - slope * counts))) > _STEADY_S:
        span = min(_SPAN, len(beats_s) - 1)
        periods = np.sort((beats_s[span:] - beats_s[:-span]) / span)
        quarter = len(periods) // 4
        slope = periods[quarter : len(periods) - quarter].mean()
    return float(60.0 / slope)


def _without_stragglers(beats_s: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the beats without those at either end whose distance to the next is not that of the others.

    They are put there by the tracker into a beginning or a fade-out in which nothing beats.
    """
    gaps = np.diff(beats_s)
    even = np.flatnonzero(np.abs(gaps / np.median(gaps) - 1.0) <= _UNEVEN) if len(gaps) else gaps
    return beats_s[even[0] : even[-1] + 2] if len(even) else beats_s[:0]


def _decibels(power: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.asarray(librosa.power_to_db(power, amin=_FLOOR_POWER, top_db=None), dtype=np.float32)


def _mean_autocorrelation(onsets: Onsets) -> Onsets | None:
    """Return how alike the onsets are to themselves by lag, 1 at lag 0: the mean of windows.

    They are 8 s, or the song where it is shorter, one each second. None where nothing ever starts.
    """
    length = min(len(onsets), round(_WINDOW_S * _GRID.frames_per_s))
    total, count = np.zeros(length), 0
    shape = np.hanning(length)
    for start in range(0, len(onsets) - length + 1, round(_GRID.frames_per_s)):
        window = onsets[start : start + length]
        alike = librosa.autocorrelate((window - window.mean()) * shape)
        if alike[0] > 0.0:
            total += alike / alike[0]
            count += 1
    return total / count if count else None
