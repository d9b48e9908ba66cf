"""How long things are kept: the limits of their user, asked of the ledger once per user.

Who sets limits and who overrules whom is `ledger/limits.py`'s; what goes when is planned beside.
"""

from ironclad_assets.contracts.v1.limits import EffectiveLimits
from ironclad_assets.ledger.store import Ledger

DAY_S = 86_400.0

NOBODY = ""
"""User of what belongs to nobody, such as the logs of services: the installation's own limits hold."""

_MOST_KNOWN = 1000


class Retention:
    """The limits of time of every user, in seconds; None means that it is kept."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[str, EffectiveLimits] = {}

    def intermediate_s(self, user_id: str) -> float | None:
        return _seconds(self._of(user_id).keep_intermediate_days)

    def stems_s(self, user_id: str) -> float | None:
        return _seconds(self._of(user_id).keep_stems_days)

    def tracks_s(self, user_id: str) -> float | None:
        return _seconds(self._of(user_id).keep_tracks_days)

    def originals_s(self, user_id: str) -> float | None:
        return _seconds(self._of(user_id).keep_originals_days)

    def errors_s(self, user_id: str) -> float | None:
        return _seconds(self._of(user_id).keep_errors_days)

    def logs_s(self, user_id: str) -> float | None:
        return _seconds(self._of(user_id).keep_logs_days)

    def _of(self, user_id: str) -> EffectiveLimits:
        if user_id not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[user_id] = self._ledger.limits.effective(user_id)
        return self._known[user_id]


def _seconds(days: float | None) -> float | None:
    return None if days is None else days * DAY_S
