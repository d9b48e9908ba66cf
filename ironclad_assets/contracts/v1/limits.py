"""What a user may use, and for how long things are kept: the names of limits and a user's whole set.

A limit is a number somebody may not exceed; None means that there is none. Where limits are kept and who
overrules whom is the ledger's business (`ledger.limits`), what happens at a limit that of whoever enforces it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated

from pydantic import Field

from ironclad_assets.contracts.v1.base import Contract, UserId

GIBIBYTE = 1024**3
MEBIBYTE = 1024**2

Count = Annotated[int, Field(ge=0)]
Days = Annotated[float, Field(ge=0, le=36_500)]


class Role(StrEnum):
    """What a user is to this installation."""

    ADMIN = "admin"
    MEMBER = "member"
    GUEST = "guest"


class LimitScope(StrEnum):
    """Whom a stored limit is about; the later overrules the earlier."""

    SYSTEM = "system"
    ROLE = "role"
    USER = "user"


class EffectiveLimits(Contract):
    """Every limit that holds for one user. `types` are kinds as they are sniffed, such as flac; None for all."""

    stored_bytes: Count | None = 500 * GIBIBYTE
    songs_per_day: Count | None = None
    audio_minutes_per_day: Annotated[float, Field(ge=0)] | None = None
    concurrent_jobs: Count | None = None
    submissions_per_minute: Count | None = None
    max_upload_bytes: Count | None = 8 * GIBIBYTE
    max_duration_s: Annotated[float, Field(gt=0)] | None = 4 * 3600.0
    types: tuple[Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}$")], ...] | None = None
    keep_intermediate_days: Days | None = 1.0
    keep_stems_days: Days | None = None
    keep_tracks_days: Days | None = None
    keep_originals_days: Days | None = None
    keep_errors_days: Days | None = 90.0
    keep_logs_days: Days | None = 30.0


class SystemLimits(Contract):
    """What all users together may use."""

    stored_bytes: Count | None = None
    concurrent_jobs: Count | None = None
    submissions_per_minute: Count | None = None


@dataclass(frozen=True, slots=True)
class LimitFacts:
    """What people are told about one limit."""

    unit: str
    meaning: str


LIMITS: Mapping[str, LimitFacts] = MappingProxyType(
    {
        "stored_bytes": LimitFacts("bytes", "bytes stored: originals and the files of every stage"),
        "songs_per_day": LimitFacts("songs", "songs taken in within 24 hours"),
        "audio_minutes_per_day": LimitFacts("minutes", "minutes of audio taken in within 24 hours"),
        "concurrent_jobs": LimitFacts("jobs", "jobs that run at once"),
        "submissions_per_minute": LimitFacts("songs", "songs handed in within 60 seconds"),
        "max_upload_bytes": LimitFacts("bytes", "size of one file"),
        "max_duration_s": LimitFacts("seconds", "length of one song"),
        "types": LimitFacts("types", "types of files that are taken"),
        "keep_intermediate_days": LimitFacts("days", "how long staged audio is kept once its song is done"),
        "keep_stems_days": LimitFacts("days", "how long stems are kept"),
        "keep_tracks_days": LimitFacts("days", "how long finished tracks are kept"),
        "keep_originals_days": LimitFacts("days", "how long originals are kept"),
        "keep_errors_days": LimitFacts("days", "how long quarantined files are kept"),
        "keep_logs_days": LimitFacts("days", "how long logs are kept"),
    }
)
"""Every limit by name."""

RETENTION = tuple(name for name in LIMITS if name.startswith("keep_"))
"""Limits that say how long something is kept; those of the system hold for everybody who has no other."""

SYSTEM_WIDE = (*SystemLimits.model_fields, *RETENTION)
"""Names that the scope system knows."""

GUEST = EffectiveLimits(
    stored_bytes=5 * GIBIBYTE,
    songs_per_day=20,
    audio_minutes_per_day=120.0,
    concurrent_jobs=1,
    submissions_per_minute=10,
    max_upload_bytes=512 * MEBIBYTE,
    max_duration_s=3600.0,
)
"""What guests get where the installation gives its users more."""


class User(Contract):
    """Somebody who hands in songs, or operates the installation. `stored_bytes` is what is stored for the user now."""

    user_id: UserId
    role: Role
    disabled: bool = False
    created_at: str
    stored_bytes: Count = 0


class TermsAcceptance(Contract):
    """That a user accepted a version of the terms: when (UTC, ISO 8601), by whose hand, in which request."""

    user_id: UserId
    version: str
    at: str
    actor: str
    request_id: str | None = None


class Usage(Contract):
    """What one user, or all together, use of what is limited; fields are named as their limits are."""

    stored_bytes: Count = 0
    songs_per_day: Count = 0
    audio_minutes_per_day: Annotated[float, Field(ge=0)] = 0.0
    concurrent_jobs: Count = 0
    submissions_per_minute: Count = 0
