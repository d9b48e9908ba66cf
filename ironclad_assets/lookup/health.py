"""How the sources of metadata are doing, for whoever shows it: `pipelinectl health`, the API, a page.

Reads what the lookups wrote down about themselves; asks nobody.
"""

import sqlite3
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from ironclad_assets.lookup import names
from ironclad_assets.lookup.fingerprint import find_fpcalc
from ironclad_assets.lookup.policy import state_path
from ironclad_assets.lookup.state import SourceState, read_states
from ironclad_assets.settings import Settings

Standing = Literal["off", "unasked", "answering", "failing", "resting"]


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """How one source is doing.

    Attributes:
        source: its key: ``musicbrainz``, ``cover_art_archive`` or ``acoustid``.
        name: its name for people.
        standing: ``off`` (not set up), ``unasked``, ``answering``, ``failing`` (its last answer failed to come) or
            ``resting`` (left alone after several failures).
        detail: the same in words, with times.
        failures: in a row, up to now.
        last_error: why it last gave no answer.
        last_error_at: when that was, UTC.
        last_answer_at: when it last answered, UTC.
        resting_until: until when it is left alone, UTC.
    """

    source: str
    name: str
    standing: Standing
    detail: str
    failures: int = 0
    last_error: str = ""
    last_error_at: datetime | None = None
    last_answer_at: datetime | None = None
    resting_until: datetime | None = None


def source_health(settings: Settings) -> tuple[SourceHealth, ...]:
    """Return how each source is doing, those that are off included.

    Raises:
        sqlite3.Error: what was written down cannot be read.
    """
    try:
        states = read_states(state_path(settings))
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and "no such table" not in str(error):
            raise
        states = {}  # it is begun anew at the next lookup
    return tuple(
        _health(source, name, state=states.get(source), off=_why_off(source, settings=settings))
        for source, name in names.SOURCES.items()
    )


def _why_off(source: str, *, settings: Settings) -> str:
    """Return why a source is never asked, empty where it is."""
    if settings.lookup_contact is None:
        return "no contact is configured (IRONCLAD_LOOKUP_CONTACT)"
    if source != names.ACOUSTID:
        return ""
    if settings.lookup_acoustid_key is None:
        return "no application key is configured (IRONCLAD_LOOKUP_ACOUSTID_KEY)"
    return "" if find_fpcalc() is not None else "fpcalc (Chromaprint) is not installed"


def _health(source: str, name: str, *, state: SourceState | None, off: str) -> SourceHealth:
    if off:
        return SourceHealth(source, name, "off", f"not asked: {off}")
    if state is None:
        return SourceHealth(source, name, "unasked", "has not been asked yet")
    resting_s = state.rest_until - time.time()
    resting = resting_s > 0
    failing = state.failures > 0
    answered = _told(state.last_answer_at)
    detail = f"answered {answered}" if answered else "has never answered"
    if failing:
        detail = (
            f"{state.failures} failures in a row, the last {_told(state.last_error_at)}: {state.last_error}; {detail}"
        )
    if resting:
        detail = f"left alone for {resting_s:.0f} s after {detail}"
    return SourceHealth(
        source=source,
        name=name,
        standing="resting" if resting else "failing" if failing else "answering",
        detail=detail,
        failures=state.failures,
        last_error=state.last_error,
        last_error_at=_moment(state.last_error_at),
        last_answer_at=_moment(state.last_answer_at),
        resting_until=_moment(state.rest_until) if resting else None,
    )


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, tz=UTC)


def _told(seconds: float | None) -> str:
    moment = _moment(seconds)
    return "" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S UTC")
