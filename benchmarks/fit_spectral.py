"""How the built-in engine's table of scores was found, and what it is worth on a song it was not found on.

    python -m benchmarks.fit_spectral AUDIO/multitrack

Prints a table for `ironclad_spectral.scores` and the SDR of each song with and without that song in the fit.
The songs are mixed anew (voices and drums exchanged, the voice moved to the middle) so that the table does
not learn two arrangements by heart. Takes about five minutes.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.optimize import minimize

from benchmarks.separation import COLUMNS, sdr_db
from ironclad_assets.audio.synthesis_song import compose
from ironclad_spectral.engine import FLOOR
from ironclad_spectral.features import NAMES, describe
from ironclad_spectral.scores import LOW_HZ, PITCHES_HZ, STEMS
from ironclad_spectral.transform import BINS, FRAME, to_samples, to_spectrum

SR = 44_100
DEMO_S = 24.0
SHRINK = 1e-2
SMOOTH = 3 * SHRINK
IMPORTANCE = np.array([1.0, 1.0, 0.5, 0.5])
"""How much each stem's SDR counts; bass and other are softer truths."""

Array = NDArray[np.float32]
Song = dict[str, Array]
"""Stems by name, shape (2, frames)."""

_PITCH_HZ = np.arange(BINS) * SR / FRAME
_LOW = (1 / (1 + (_PITCH_HZ / LOW_HZ) ** 4)).astype(np.float32)
_KNOTS = len(PITCHES_HZ)
_COLUMNS = _KNOTS + 2 * len(NAMES)
_HATS = np.stack(
    [np.interp(np.log(np.maximum(_PITCH_HZ, 20)), np.log(PITCHES_HZ), row) for row in np.eye(_KNOTS)], axis=1
).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Points:
    """A sample of a song's points: inputs, energies, and products with the stems, all times their weight."""

    design: Array
    energy: Array
    products: Array
    stem_energy: Array
    totals: NDArray[np.float64]


def mix(song: Song) -> Array:
    return np.sum([song[name] for name in STEMS], axis=0, dtype=np.float32)


def describe_song(song: Song) -> tuple[Array, tuple[Array, ...]]:
    """Return the spectrum of a song's mixture and its features, as the engine sees them."""
    mixture = mix(song)
    spectrum = to_spectrum(mixture)
    return spectrum, describe(spectrum, floor=FLOOR * float(np.sqrt(np.mean(mixture**2))))


def design(features: Sequence[Array], *, chosen: NDArray[np.bool_]) -> Array:
    """Return one row per chosen point: hats over pitch, then every feature for low and for high pitches."""
    shape = chosen.shape
    columns = [np.broadcast_to(hat, shape)[chosen] for hat in _HATS.T]
    for feature in features:
        columns += [(feature * _LOW)[chosen], (feature * (1 - _LOW))[chosen]]
    return np.stack(columns, axis=1).astype(np.float32)


def sample_points(song: Song) -> Points:
    """Return about a tenth of a song's points, loud ones more often, weighted so that sums stay true."""
    spectrum, features = describe_song(song)
    magnitude = np.sqrt((np.abs(spectrum) ** 2).sum(axis=0))
    odds = np.clip(magnitude / magnitude.max() * 40, 0.02, 1) * 0.15
    chosen = np.random.default_rng(0).random(magnitude.shape) < odds
    weight = 1 / odds[chosen]
    mixture = spectrum[:, chosen]
    stems = [to_spectrum(song[name]) for name in STEMS]
    return Points(
        design=design(features, chosen=chosen),
        energy=(np.abs(mixture) ** 2).sum(axis=0) * weight,
        products=np.stack([(stem[:, chosen] * mixture.conj()).real.sum(axis=0) * weight for stem in stems], axis=1),
        stem_energy=np.stack([(np.abs(stem[:, chosen]) ** 2).sum(axis=0) * weight for stem in stems], axis=1),
        totals=np.array([(np.abs(stem) ** 2).sum() for stem in stems], dtype=np.float64),
    )


def softmax(scores: Array) -> Array:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def fit(songs: Sequence[Points]) -> NDArray[np.float64]:
    """Return the table, shape (columns, stems), with the best mean SDR, shrunk and smooth over pitch."""
    free = np.ones((_COLUMNS, len(STEMS)), dtype=bool)
    # A lead voice sits in the middle of most music, at the sides in these two songs: let it be either.
    centred = _KNOTS + 2 * NAMES.index("centred")
    free[centred : centred + 2, STEMS.index("vocals")] = False

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        table = flat.reshape(free.shape) * free
        total, slope = 0.0, np.zeros_like(table)
        for points in songs:
            value, gradient = _loss_of(points, table=table)
            total, slope = total + value / len(songs), slope + gradient / len(songs)
        steps = np.diff(table[:_KNOTS], axis=0)
        total += SHRINK * float((table**2).sum()) + SMOOTH * float((steps**2).sum())
        slope += 2 * SHRINK * table
        slope[1:_KNOTS] += 2 * SMOOTH * steps
        slope[: _KNOTS - 1] -= 2 * SMOOTH * steps
        return total, (slope * free).ravel()

    found = minimize(loss, np.zeros(free.size), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    return found.x.reshape(free.shape) * free


def _loss_of(points: Points, *, table: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    shares = softmax(points.design @ table)
    errors = (shares**2 * points.energy[:, None] - 2 * shares * points.products + points.stem_energy).sum(axis=0)
    totals = np.maximum(points.totals, 1e-9)
    relative = np.maximum(errors / totals, 1e-4)
    counted = (points.totals > 1e-3 * points.totals.sum()) * IMPORTANCE
    slope = 2 * (shares * points.energy[:, None] - points.products) / totals * (counted / relative)
    through = shares * (slope - (slope * shares).sum(axis=1, keepdims=True))
    return float((counted * np.log(relative)).sum()), points.design.T @ through


def evaluate(song: Song, *, table: NDArray[np.float64]) -> list[float]:
    """Return the SDR in dB of every stem and of the accompaniment."""
    spectrum, features = describe_song(song)
    everywhere = np.ones(spectrum.shape[1:], dtype=bool)
    shares = softmax(design(features, chosen=everywhere) @ table).reshape(*everywhere.shape, len(STEMS))
    frames = song["vocals"].shape[1]
    found = {
        name: to_samples((spectrum * shares[..., number]).astype(np.complex64), frames=frames).astype(np.float64)
        for number, name in enumerate(STEMS)
    }
    truth = {name: song[name].astype(np.float64) for name in STEMS}
    for each in (found, truth):
        each["accompaniment"] = each["drums"] + each["bass"] + each["other"]
    return [sdr_db(truth[name], found[name]) for name in COLUMNS]


def combine(vocals: Song, drums: Song, rest: Song, *, middle: bool = False) -> Song:
    """Return a song of stems of others, as long as the shortest; `middle` moves the voice there."""
    song = {"vocals": vocals["vocals"], "drums": drums["drums"], "bass": rest["bass"], "other": rest["other"]}
    frames = min(y.shape[1] for y in song.values())
    song = {name: y[:, :frames] for name, y in song.items()}
    if middle:
        mono = np.repeat(song["vocals"].mean(axis=0, keepdims=True), 2, axis=0)
        song["vocals"] = mono * np.sqrt(np.mean(song["vocals"] ** 2) / np.mean(mono**2))
    return song


def print_table(table: NDArray[np.float64]) -> None:
    """Print the scores against the last stem, as `ironclad_spectral.scores` has them."""
    against = np.round(table - table[:, -1:], 2)
    for number, name in enumerate(STEMS[:-1]):
        column = against[:, number].tolist()
        print(f"{name}: prior={column[:_KNOTS]} low={column[_KNOTS::2]} high={column[_KNOTS + 1 :: 2]}")


def main() -> int:
    """Fit on all songs and, for each song, on those mixes that hold nothing of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with the songs Lithium and Sodium")
    folder = parser.parse_args().folder
    songs = {
        name: {stem: soundfile.read(folder / name / f"{stem}.flac", dtype="float32")[0].T for stem in STEMS}
        for name in ("Lithium", "Sodium")
    }
    played = compose(DEMO_S, progress=lambda _fraction, _message: None)
    songs["demo"] = {stem: np.asarray(played[stem], dtype=np.float32) for stem in STEMS}
    one, two, demo = songs.values()
    mixes = [
        *[({name}, song) for name, song in songs.items()],
        ({"Lithium"}, one),
        ({"Sodium"}, two),
        ({"Lithium"}, combine(one, one, one, middle=True)),
        ({"Lithium", "Sodium"}, combine(two, one, one)),
        ({"Lithium", "Sodium"}, combine(one, two, two, middle=True)),
        ({"Lithium", "Sodium"}, combine(one, two, one)),
        ({"Lithium", "Sodium"}, combine(two, one, two)),
        ({"Lithium", "Sodium", "demo"}, combine(demo, one, two)),
        ({"Lithium", "demo"}, combine(one, demo, demo)),
    ]
    points = [(names, sample_points(song)) for names, song in mixes]
    table = fit([each for _, each in points])
    print_table(table)
    print(f"| SDR in dB | {' | '.join(COLUMNS)} |")
    for name, song in songs.items():
        held_out = fit([each for names, each in points if name not in names])
        for label, used in (("in the fit", table), ("kept out", held_out)):
            print(f"| {name}, {label} | {' | '.join(f'{value:.1f}' for value in evaluate(song, table=used))} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
