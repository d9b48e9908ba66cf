"""What an installation's settings say about users: their limits, who may come, which terms they must accept.

Read once where a ledger is opened; what an operator changes while everything runs is in the ledger's tables.
"""

from dataclasses import dataclass, field
from typing import Self

from ironclad_assets.contracts.v1.limits import EffectiveLimits, Role
from ironclad_assets.ledger.retries import RetryPolicy
from ironclad_assets.settings import Settings


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for users where the ledger says nothing else.

    Attributes:
        limits: of whoever has no other; guests get less (`contracts.v1.limits.GUEST`).
        unknown_role: of users who are seen for the first time.
        closed: whether they are refused instead.
        terms_version: the terms that must be accepted before a song is worked on; None for no terms.
        redis_url: where rates and progress are shared; None for the ledger alone.
    """

    limits: EffectiveLimits = field(default_factory=EffectiveLimits)
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    unknown_role: Role = Role.MEMBER
    closed: bool = False
    terms_version: str | None = None
    redis_url: str | None = field(default=None, repr=False)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return the rules that the installation's settings describe."""
        return cls(
            retries=RetryPolicy(attempts=settings.retry_attempts, base_s=settings.retry_base_s),
            limits=EffectiveLimits(
                stored_bytes=settings.user_quota_bytes,
                max_upload_bytes=settings.max_upload_bytes,
                max_duration_s=settings.max_duration_s,
            ),
            unknown_role=Role.GUEST if settings.unknown_users == "guest" else Role.MEMBER,
            closed=settings.unknown_users == "closed",
            terms_version=settings.terms_version,
            redis_url=None if settings.redis_url is None else settings.redis_url.get_secret_value(),
        )
