"""How this installation looks things up: whom it asks, who answers for it, how long it waits.

Made from the settings once; what a lookup finds does not depend on patience, so only the rest is part of a stage's key.
"""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Self

from ironclad_assets.lookup.courier import Manners
from ironclad_assets.lookup.state import FILE_NAME
from ironclad_assets.settings import Settings

ABSENT_DAYS = 3.0
"""How long "unknown" counts as new: somebody may have entered the album since."""


@dataclass(frozen=True, slots=True)
class LookupPolicy:
    """The settings of lookups.

    Attributes:
        state: file of what all processes know together.
        manners: how every source is asked.
        total_s: longest time for one song.
        acoustid_key: None where AcoustID is not asked.
    """

    state: Path
    manners: Manners
    total_s: float
    musicbrainz_url: str
    cover_art_url: str
    acoustid_url: str
    acoustid_key: str | None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """Return the policy, None where no contact is configured: then nobody is asked."""
        if settings.lookup_contact is None:
            return None
        return cls(
            state=state_path(settings),
            manners=Manners(
                agent=f"ironclad/{_own_version()} ( {settings.lookup_contact} )",
                request_s=settings.lookup_request_s,
                interval_s=settings.lookup_interval_s,
                cache_days=settings.lookup_cache_days,
                absent_days=min(ABSENT_DAYS, settings.lookup_cache_days),
                failures=settings.lookup_failures,
                rest_s=settings.lookup_rest_s,
            ),
            total_s=settings.lookup_total_s,
            musicbrainz_url=settings.lookup_musicbrainz_url,
            cover_art_url=settings.lookup_cover_art_url,
            acoustid_url=settings.lookup_acoustid_url,
            acoustid_key=settings.lookup_acoustid_key,
        )


def state_path(settings: Settings) -> Path:
    """Return where the lookups' shared memory is."""
    return settings.home_dir / FILE_NAME


def _own_version() -> str:
    try:
        return version("ironclad-assets")
    except PackageNotFoundError:  # run from a checkout that nobody installed
        return "0"
