"""Audio to try engines with: oscillators and seeded noise, shape (frames, channels), full scale 1.0."""

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]


def band(frames: int, *, channels: int, rate: int) -> Audio:
    """Return something with a beat, a bass, a chord and a melody in it, the same every time."""
    time = np.arange(frames) / rate
    noise = np.random.default_rng(1).standard_normal(frames)
    beat = noise * np.exp(-20 * (time % 0.5)) * 0.3
    bass = np.sin(2 * np.pi * 55 * time) * 0.2
    chord = sum(np.sin(2 * np.pi * hz * time) for hz in (220.0, 277.2, 329.6)) * 0.05
    melody = np.sin(2 * np.pi * 440 * time + 4 * np.sin(2 * np.pi * 5 * time)) * 0.2 * (time % 2 < 1.3)
    middle = beat + bass + melody
    sides = (middle + chord, middle + 0.4 * chord)
    return np.stack(sides[:channels], axis=1).astype(np.float32)


def mono(frames: int, *, channels: int, rate: int) -> Audio:
    """Return `band` with all channels alike."""
    return np.repeat(band(frames, channels=1, rate=rate), channels, axis=1)


def silence(frames: int, *, channels: int) -> Audio:
    """Return digital silence."""
    return np.zeros((frames, channels), dtype=np.float32)
