"""How far a song is, from the stage it is in.

A stage's weight is its share of a typical song's time; measured shares differ by engine, so an estimate of
what is left follows the time that passed.
"""

from datetime import datetime

from ironclad_assets.contracts.v1.job import STAGES

WEIGHTS = {
    "validated_file": 0.08,
    "song_metadata": 0.03,
    "staged_chunks": 0.08,
    "stems": 0.60,
    "recombined_track": 0.18,
    "library_entry": 0.03,
}

_LEAST_FRACTION = 0.02  # before that, an estimate is noise


def overall_fraction(stage: str, *, fraction: float) -> float:
    """Return how much of the song is done, 0..1, when `fraction` of `stage` is done."""
    before = sum(WEIGHTS[name] for name in STAGES[: STAGES.index(stage)])
    return min(before + WEIGHTS[stage] * min(max(fraction, 0.0), 1.0), 1.0)


def estimate_rest_s(started_at: str | None, *, updated_at: str, fraction: float) -> float | None:
    """Return the seconds left if the rest goes as fast as what is done, or None where nothing can be said."""
    if started_at is None or not _LEAST_FRACTION <= fraction < 1.0:
        return None
    return round(max(seconds_between(started_at, updated_at), 0.0) * (1.0 - fraction) / fraction, 1)


def seconds_between(earlier: str, later: str) -> float:
    """Return the seconds from one ISO 8601 time to another; negative where the clock was set back."""
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def stage_fraction(stage: str, *, overall: float) -> float:
    """Return how much of `stage` is done, 0..1, when `overall` of the song is: what `overall_fraction` undoes."""
    before = overall_fraction(stage, fraction=0.0)
    return min(max((overall - before) / WEIGHTS[stage], 0.0), 1.0)
