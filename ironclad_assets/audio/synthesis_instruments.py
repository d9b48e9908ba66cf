"""The instruments of the synthesised song: one function per sound, numpy only, the same samples every time.

Each returns mono float64 of shape (frames,), peak about 1.0. Which notes are played, how loud and from where
is `synthesis_song`'s matter.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SR = 44_100
"""Sample rate of everything here, in Hz."""

Mono = NDArray[np.float64]

FORMANTS: dict[str, tuple[tuple[float, float, float], ...]] = {
    # centre in Hz, bandwidth in Hz, gain; after the table of singing voices in the Csound manual (appendix D)
    "a": ((800.0, 120.0, 1.0), (1150.0, 140.0, 0.5), (2900.0, 220.0, 0.16), (3900.0, 300.0, 0.1)),
    "e": ((400.0, 90.0, 1.0), (1700.0, 150.0, 0.3), (2700.0, 220.0, 0.2), (3700.0, 300.0, 0.1)),
    "i": ((350.0, 80.0, 1.0), (2000.0, 150.0, 0.25), (2950.0, 220.0, 0.2), (3900.0, 300.0, 0.1)),
    "o": ((450.0, 90.0, 1.0), (850.0, 120.0, 0.5), (2830.0, 220.0, 0.12), (3800.0, 300.0, 0.08)),
    "u": ((330.0, 80.0, 1.0), (700.0, 110.0, 0.35), (2700.0, 220.0, 0.1), (3800.0, 300.0, 0.05)),
}

CONSONANTS: dict[str, tuple[float, float, float, float]] = {
    # noise from and to in Hz, length in seconds, level
    "s": (4_500.0, 10_000.0, 0.09, 0.30),
    "t": (3_000.0, 9_000.0, 0.03, 0.50),
    "k": (1_200.0, 4_000.0, 0.03, 0.40),
}


@dataclass(frozen=True, slots=True)
class Syllable:
    """What one sung note says: a consonant's noise, then a vowel that moves to another."""

    consonant: str
    vowel: str
    glide_to: str

    def amplitudes(self, frequencies_hz: Mono) -> tuple[Mono, Mono]:
        """Return the strength of partials at `frequencies_hz` at the start and at the end of the note."""
        return _formant_gain(frequencies_hz, self.vowel), _formant_gain(frequencies_hz, self.glide_to)


def pitch_hz(note: float) -> float:
    """Return the frequency of a MIDI note number (69 is 440 Hz)."""
    return float(440.0 * 2.0 ** ((note - 69.0) / 12.0))


def seconds_axis(seconds: float) -> Mono:
    """Return the time of each frame, in seconds."""
    return np.arange(round(seconds * SR)) / SR


def shape(frames: int, *, attack_s: float, release_s: float) -> Mono:
    """Return an envelope that rises from zero and falls back to it, each as half a cosine."""
    envelope = np.ones(frames)
    rise, fall = (min(round(s * SR), frames // 2) for s in (attack_s, release_s))
    if rise:
        envelope[:rise] = 0.5 - 0.5 * np.cos(np.pi * np.arange(rise) / rise)
    if fall:
        envelope[-fall:] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(1, fall + 1) / fall)
    return envelope


def band_noise(seconds: float, *, low_hz: float, high_hz: float, seed: int) -> Mono:
    """Return Gaussian noise between two frequencies, with soft edges, peak 1.0."""
    frames = round(seconds * SR)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(frames))
    frequencies = np.fft.rfftfreq(frames, 1 / SR)
    spectrum *= 1 / (1 + (low_hz / np.maximum(frequencies, 1.0)) ** 6) / (1 + (frequencies / high_hz) ** 6)
    y: Mono = np.fft.irfft(spectrum, frames)
    return y / float(np.abs(y).max())


def kick() -> Mono:
    """Return a bass drum: a sine that falls from 160 to 48 Hz, and a click."""
    time = seconds_axis(0.32)
    frequency = 48.0 + 112.0 * np.exp(-time / 0.028)
    body = np.sin(2 * np.pi * np.cumsum(frequency) / SR) * np.exp(-time / 0.09)
    click = band_noise(0.32, low_hz=1_500.0, high_hz=5_000.0, seed=1) * np.exp(-time / 0.004)
    return (body + 0.25 * click) * shape(len(time), attack_s=0.0005, release_s=0.05)


def snare() -> Mono:
    """Return a snare drum: two modes of the head, and the wires' noise."""
    time = seconds_axis(0.26)
    head = np.sin(2 * np.pi * 186.0 * time) + 0.6 * np.sin(2 * np.pi * 331.0 * time)
    wires = band_noise(0.26, low_hz=1_200.0, high_hz=9_000.0, seed=2)
    y = 0.35 * head * np.exp(-time / 0.05) + 0.8 * wires * np.exp(-time / 0.065)
    return y * shape(len(time), attack_s=0.0005, release_s=0.05)


def hat(*, is_open: bool) -> Mono:
    """Return a hi-hat: high noise that dies at once, or rings."""
    length_s, decay_s = (0.28, 0.09) if is_open else (0.08, 0.018)
    time = seconds_axis(length_s)
    y = band_noise(length_s, low_hz=6_500.0, high_hz=15_000.0, seed=4 if is_open else 3)
    return y * np.exp(-time / decay_s) * shape(len(time), attack_s=0.0005, release_s=0.02)


def bass(note: float, *, seconds: float) -> Mono:
    """Return a plucked bass note; its upper partials die first."""
    time = seconds_axis(seconds)
    phase = 2 * np.pi * pitch_hz(note) * time
    y = np.zeros(len(time))
    for partial in range(1, 9):
        y += np.sin(partial * phase) / partial * np.exp(-time * (1.2 + 1.5 * partial))
    return 0.7 * y * shape(len(time), attack_s=0.004, release_s=0.03)


def keys(note: float, *, seconds: float, cents: float) -> Mono:
    """Return one soft electric-piano note, detuned by `cents`, which also set its phases: two such notes sound wide."""
    time = seconds_axis(seconds)
    phase = 2 * np.pi * pitch_hz(note + cents / 100.0) * time
    y = np.zeros(len(time))
    for partial in range(1, 8):
        y += np.sin(partial * phase + 0.35 * cents * partial) / partial**1.6 * np.exp(-time * (0.7 + 0.5 * partial))
    return 0.7 * y * shape(len(time), attack_s=0.006, release_s=0.12)


def sung(note: float, *, seconds: float, syllable: Syllable, from_note: float | None, seed: int) -> Mono:
    """Return one sung note: partials of a gliding, wavering pitch, coloured by the vowel's formants.

    Args:
        note: MIDI note number.
        seconds: length of the note.
        syllable: what is sung.
        from_note: note before it, from which the pitch slides in 70 ms; None after a rest.
        seed: of the voice's small unsteadiness and of its breath.
    """
    time = seconds_axis(seconds)
    base_hz = pitch_hz(note)
    phase = 2 * np.pi * np.cumsum(base_hz * _wavering(time, note=note, from_note=from_note, seed=seed)) / SR
    count = int(5_500.0 // base_hz)
    start, end = syllable.amplitudes(base_hz * np.arange(1, count + 1, dtype=np.float64))
    movement = np.clip(time / seconds * 1.6 - 0.3, 0.0, 1.0)
    turn, rotation = np.exp(1j * phase), np.exp(1j * phase)
    y = np.zeros(len(time))
    for partial in range(count):
        y += turn.imag * (start[partial] + (end[partial] - start[partial]) * movement) / (partial + 1) ** 0.6
        turn *= rotation
    y /= np.abs(y).max()
    breath = band_noise(seconds, low_hz=1_500.0, high_hz=7_000.0, seed=seed)
    voiced = (y + 0.02 * breath) * shape(len(time), attack_s=0.045, release_s=0.09)
    return voiced + _consonant(syllable.consonant, frames=len(time), seed=seed)


def _wavering(time: Mono, *, note: float, from_note: float | None, seed: int) -> Mono:
    """Return the pitch's course relative to the note: slide, vibrato that sets in late, unsteadiness."""
    slide = 0.0 if from_note is None else (from_note - note) * np.exp(-time / 0.03)
    vibrato = 0.38 * np.clip((time - 0.18) / 0.3, 0.0, 1.0) * np.sin(2 * np.pi * 5.6 * time)
    steps = np.random.default_rng(seed).standard_normal(len(time) // 2_205 + 2) * 0.05
    unsteady = np.interp(time, np.arange(len(steps)) * 0.05, steps)
    return np.asarray(2.0 ** ((slide + vibrato + unsteady) / 12.0))


def _formant_gain(frequencies_hz: Mono, vowel: str) -> Mono:
    gain = np.full(len(frequencies_hz), 0.01)
    for centre_hz, bandwidth_hz, strength in FORMANTS[vowel]:
        gain += strength / (1.0 + ((frequencies_hz - centre_hz) / bandwidth_hz) ** 2)
    return gain


def _consonant(name: str, *, frames: int, seed: int) -> Mono:
    """Return the noise at a syllable's start: `s` hisses, `t` and `k` burst, anything else is silent."""
    y = np.zeros(frames)
    if name in CONSONANTS:
        low_hz, high_hz, length_s, level = CONSONANTS[name]
        burst = band_noise(length_s, low_hz=low_hz, high_hz=high_hz, seed=seed)[:frames]
        y[: len(burst)] = level * burst * shape(len(burst), attack_s=0.004, release_s=length_s / 2)
    return y
