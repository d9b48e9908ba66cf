"""What people and schedules did to the installation: one line each, never changed (promise: who did what, and when).

What happens to a job is in its own history; here is everything else: pauses, users, limits, sweeps, deletions,
backups. A line never names what was deleted, only the receipt.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from ironclad_assets.ledger.database import Database
from ironclad_assets.ledger.rows import utc_now
from ironclad_assets.ledger.tables import audit
from ironclad_assets.telemetry.request import current_request


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One action. `at` is UTC in ISO 8601; `monotonic_ns` orders lines of one boot whatever the clock did."""

    sequence: int
    at: str
    monotonic_ns: int
    actor: str
    request_id: str | None
    action: str
    object: str
    detail: str


class Audit:
    """The audit of one ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, action: str, subject: str, *, actor: str, detail: str = "") -> None:
        """Append a line in a transaction of its own; inside another use `write_audit`."""
        with self._database.write() as connection:
            write_audit(connection, action, subject, actor=actor, detail=detail)

    def latest(self, *, limit: int) -> list[AuditLine]:
        """Return the last lines, in order."""
        chosen = select(audit).order_by(audit.c.sequence.desc()).limit(limit)
        with self._database.read() as connection:
            return [AuditLine(**row) for row in connection.execute(chosen).mappings()][::-1]

    def lines(self, *, after: int = 0, limit: int = 100) -> list[AuditLine]:
        """Return lines in order, those after line `after` of the audit."""
        chosen = select(audit).where(audit.c.sequence > after).order_by(audit.c.sequence).limit(limit)
        with self._database.read() as connection:
            return [AuditLine(**row) for row in connection.execute(chosen).mappings()]

    def subjects(self, actions: Collection[str]) -> frozenset[str]:
        """Return everything that any of the actions was ever done to."""
        with self._database.read() as connection:
            return frozenset(connection.execute(select(audit.c.object).where(audit.c.action.in_(actions))).scalars())

    def details(self, action: str) -> frozenset[str]:
        """Return everything that was ever said of an action."""
        with self._database.read() as connection:
            return frozenset(connection.execute(select(audit.c.detail).where(audit.c.action == action)).scalars())


def write_audit(connection: Connection, action: str, subject: str, *, actor: str, detail: str = "") -> None:
    """Append a line: `actor` did `action` to `subject`."""
    line = {
        "at": utc_now(),
        "monotonic_ns": time.monotonic_ns(),
        "actor": actor,
        "request_id": current_request(),
        "action": action,
        "object": subject,
        "detail": detail,
    }
    connection.execute(insert(audit).values(line))
