"""Settings of cleaning up: a part of `settings.Settings`, never used alone.

How long things are kept is a limit of users and roles (`contracts/v1/limits.py`); here is what holds for the whole
installation: when sweeps run, and what one may take. What they do is said in `upkeep/`.
"""

from pydantic import Field, PositiveInt
from pydantic_settings import BaseSettings

_CRON = r"^([0-9*/,A-Za-z-]{1,40}( [0-9*/,A-Za-z-]{1,40}){4})?$"


class UpkeepSettings(BaseSettings):
    """Fields that concern sweeps and checks of the store alone."""

    prune_cron: str = Field(
        default="30 3 * * *",
        pattern=_CRON,
        description="When the store is swept: minute, hour, day, month, day of the week, in UTC; empty for never.",
    )
    prune_share: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share of the store's bytes that one sweep may take without being confirmed.",
    )
    orphaned_days: float = Field(
        default=30.0, ge=0, le=36_500, description="How long orphaned and damaged files are kept in orphaned/."
    )
    keep_runs_days: float | None = Field(
        default=90.0,
        ge=1,
        le=36_500,
        description="How long ended runs stay in Dagster; the last good one of each song stays for good.",
    )
    verify_cron: str = Field(
        default="30 4 * * SUN", pattern=_CRON, description="When a part of the store is verified, in the same form."
    )
    verify_parts: PositiveInt = Field(
        default=4, description="Into how many parts the store is divided for that; each time the next one is read."
    )
