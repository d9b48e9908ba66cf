"""The score of the synthesised song and its four stems: who plays what, when, how loud and from where.

Four bars of A minor, F, C, G come round again and again; drums near the middle, bass and voice in it,
chords wide. Sounds are made by `synthesis_instruments`, files by `synthesis`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ironclad_assets.audio import synthesis_instruments as instruments
from ironclad_assets.audio.synthesis_instruments import SR, Mono, Syllable

Stereo = NDArray[np.float64]
"""Shape (2, frames), full scale 1.0."""

BEATS_PER_MINUTE = 100.0
BEAT_S = 60.0 / BEATS_PER_MINUTE
BEATS_PER_BAR = 4
BAR_S = BEATS_PER_BAR * BEAT_S

CHORDS = ((57, 60, 64, 67), (53, 57, 60, 64), (55, 60, 64, 71), (55, 59, 62, 69))
"""Am7, Fmaj7, Cmaj7, Gadd9 as MIDI notes, one per bar."""

ROOTS = (33, 29, 36, 31)
"""The bass note of each chord."""

# Beat in the phrase of 16, length in beats, MIDI note, consonant, vowel, vowel it moves to
_PHRASES = (
    (
        (0.5, 1.0, 69, "s", "a", "i"), (1.5, 0.5, 71, "", "o", "o"), (2.0, 1.75, 72, "t", "e", "i"),
        (4.5, 1.0, 72, "k", "a", "a"), (5.5, 0.5, 71, "", "u", "u"), (6.0, 1.5, 69, "l", "o", "u"),
        (8.0, 1.0, 67, "s", "i", "i"), (9.0, 0.5, 69, "t", "a", "e"), (9.5, 2.0, 76, "", "a", "o"),
        (12.5, 0.5, 74, "k", "o", "o"), (13.0, 0.5, 72, "", "e", "e"), (13.5, 2.0, 71, "s", "a", "u"),
    ),
    (
        (0.0, 1.5, 76, "s", "o", "a"), (1.5, 1.0, 74, "t", "e", "e"), (2.5, 1.25, 72, "", "a", "i"),
        (4.0, 1.5, 72, "k", "i", "e"), (5.5, 1.0, 69, "", "o", "o"), (6.5, 1.25, 65, "l", "u", "u"),
        (8.5, 0.5, 67, "t", "a", "a"), (9.0, 0.5, 69, "", "e", "e"), (9.5, 0.5, 71, "k", "o", "o"),
        (10.0, 1.75, 72, "s", "a", "i"), (12.0, 1.0, 74, "", "e", "i"), (13.0, 2.5, 69, "t", "a", "o"),
    ),
)  # fmt: skip

_KEYS_PANS = (0.08, 0.85, 0.2, 0.95)
_DRUM_LEVEL, _BASS_LEVEL, _KEYS_LEVEL, _VOICE_LEVEL = 0.38, 0.20, 0.08, 0.20


@dataclass(slots=True)
class Track:
    """A stereo strip onto which notes are laid. The one mutable thing here."""

    frames: int
    y: Stereo = field(init=False)

    def __post_init__(self) -> None:
        self.y = np.zeros((2, self.frames))

    def lay(self, sound: Mono, *, at_s: float, level: float, pan: float = 0.5) -> None:
        """Add `sound` at a time; `pan` is 0 for left, 0.5 for the middle (both at `level`), 1 for right."""
        start = round(at_s * SR)
        part = sound[: max(0, self.frames - start)]
        stop = start + len(part)
        angle = pan * np.pi / 2
        self.y[0, start:stop] += np.sqrt(2) * np.cos(angle) * level * part
        self.y[1, start:stop] += np.sqrt(2) * np.sin(angle) * level * part


def compose(seconds: float, *, progress: Callable[[float, str], None]) -> dict[str, Stereo]:
    """Return the stems ``drums``, ``bass``, ``other`` (chords) and ``vocals``, each `seconds` long.

    Their sum stays below full scale. The last bar is left to fade.
    """
    frames = round(seconds * SR)
    bars = max(1, int((seconds - 0.5 * BEAT_S) // BAR_S))
    parts = {
        "drums": partial(_play_drums, bars=bars),
        "bass": partial(_play_bass, bars=bars),
        "other": partial(_play_keys, bars=bars),
        "vocals": partial(_sing, bars=bars),
    }
    stems = {}
    for index, (name, play) in enumerate(parts.items()):
        progress(index / len(parts), f"playing {name}")
        track = Track(frames)
        play(track)
        stems[name] = track.y
    return stems


def _play_drums(track: Track, *, bars: int) -> None:
    kick, snare = instruments.kick(), instruments.snare()
    closed, ringing = instruments.hat(is_open=False), instruments.hat(is_open=True)
    for bar in range(bars):
        start_s = bar * BAR_S
        for beat in (0.0, 1.75, 2.5) if bar % 2 else (0.0, 2.0, 2.75):
            track.lay(kick, at_s=start_s + beat * BEAT_S, level=1.15 * _DRUM_LEVEL)
        for beat in (1.0, 3.0):
            track.lay(snare, at_s=start_s + beat * BEAT_S, level=0.8 * _DRUM_LEVEL, pan=0.45)
        if bar % 4 == 3:
            track.lay(snare, at_s=start_s + 3.75 * BEAT_S, level=0.5 * _DRUM_LEVEL, pan=0.45)
        for eighth in range(8):
            accent = 0.34 if eighth % 2 else 0.22
            rings = eighth == 7 and bar % 2 == 1
            at_s = start_s + eighth * BEAT_S / 2
            track.lay(ringing if rings else closed, at_s=at_s, level=accent * _DRUM_LEVEL, pan=0.64)


def _play_bass(track: Track, *, bars: int) -> None:
    for bar in range(bars):
        root = ROOTS[bar % 4]
        for beat, beats, step in ((0.0, 1.5, 0), (1.5, 0.5, 0), (2.0, 1.0, 7), (3.0, 0.5, 12), (3.5, 0.5, 7)):
            sound = instruments.bass(root + step, seconds=beats * BEAT_S * 0.96)
            track.lay(sound, at_s=bar * BAR_S + beat * BEAT_S, level=_BASS_LEVEL)


def _play_keys(track: Track, *, bars: int) -> None:
    strikes = ((0.0, 1.5), (1.5, 2.5))
    played: dict[tuple[int, float, float], Mono] = {}
    for bar in range(bars):
        for (note, pan), (beat, beats) in product(zip(CHORDS[bar % 4], _KEYS_PANS, strict=True), strikes):
            for cents, side in ((-5.0, pan * 0.5), (5.0, pan * 0.5 + 0.5)):
                key = (note, beats, cents)
                if key not in played:
                    played[key] = instruments.keys(note, seconds=beats * BEAT_S, cents=cents)
                track.lay(played[key], at_s=bar * BAR_S + beat * BEAT_S, level=_KEYS_LEVEL, pan=side)


def _sing(track: Track, *, bars: int) -> None:
    previous_end_beat, previous_note = -1.0, 0
    for index, (beat, beats, note, syllable) in enumerate(_sung_notes(bars)):
        from_note = previous_note if beat - previous_end_beat < 0.1 else None
        sound = instruments.sung(note, seconds=beats * BEAT_S, syllable=syllable, from_note=from_note, seed=100 + index)
        track.lay(sound, at_s=beat * BEAT_S, level=_VOICE_LEVEL)
        previous_end_beat, previous_note = beat + beats, note


def _sung_notes(bars: int) -> Iterator[tuple[float, float, int, Syllable]]:
    """Yield (beat, beats, note, syllable). Of 12 bars or more the first two are instrumental."""
    first_beat = 2 * BEATS_PER_BAR if bars >= 12 else 0
    for bar in range(0, bars, 4):
        for beat, beats, note, consonant, vowel, glide_to in _PHRASES[bar // 4 % len(_PHRASES)]:
            position = bar * BEATS_PER_BAR + beat
            if first_beat <= position and position + beats <= bars * BEATS_PER_BAR:
                yield position, beats, note, Syllable(consonant, vowel, glide_to)
