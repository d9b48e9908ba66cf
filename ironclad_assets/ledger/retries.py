"""When a job that failed for now is tried again (QUEUE-004): how often, and how long it waits.

The wait is drawn evenly from zero up to a bound that grows fourfold with every failure ("full jitter"), so that
what failed together does not come back together. What cannot heal is never tried again by itself.
"""

import random
from dataclasses import dataclass

GROWTH = 4.0
LONGEST_WAIT_S = 600.0
"""No bound grows beyond; a wait that seems longer was written under another clock."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a job is tried in all, and the first wait's bound in seconds."""

    attempts: int = 3
    base_s: float = 10.0

    def longest_wait_s(self, failures: int) -> float:
        """Return the bound of the wait after the `failures`-th failure: base x 4^(failures - 1), at most 600 s."""
        return float(min(LONGEST_WAIT_S, self.base_s * GROWTH ** min(failures - 1, 16)))

    def draw_wait_s(self, failures: int) -> float:
        """Return how long to wait after the `failures`-th failure."""
        return random.uniform(0.0, self.longest_wait_s(failures))  # noqa: S311 - spreads load, guards nothing

    def is_last(self, failures: int) -> bool:
        """Return whether the `failures`-th failure is the last one."""
        return failures >= self.attempts
