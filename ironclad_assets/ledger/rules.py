"""What an installation's settings say about users: the limits of those for whom none are stored, and who may come.

Read once where a ledger is opened; what an operator changes while everything runs is in the ledger's tables.
"""

from dataclasses import dataclass, field
from typing import Self

from ironclad_assets.contracts.v1.limits import EffectiveLimits, Role
from ironclad_assets.settings import Settings


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for users where the ledger says nothing else."""

    limits: EffectiveLimits = field(default_factory=EffectiveLimits)
    unknown_role: Role = Role.MEMBER

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return the rules that the installation's settings describe."""
        return cls(
            limits=EffectiveLimits(
                stored_bytes=settings.user_quota_bytes,
                max_upload_bytes=settings.max_upload_bytes,
                max_duration_s=settings.max_duration_s,
            )
        )
