"""Pauses: what an operator stopped for a while, and until somebody resumes it (QUEUE-003).

A pause is about everything, one user, one stage or one engine, and survives restarts because it is a row. What
it means is decided where work is about to begin: the dispatcher asks for no runs, a stage or a separation is not
begun and its job is held. Nothing that runs is stopped.
"""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, Insert, RowMapping, delete, exists, select, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.elements import ColumnElement

from ironclad_assets.contracts.v1.job import STAGES
from ironclad_assets.errors import ErrorCode, Refusal
from ironclad_assets.ledger.audit import write_audit
from ironclad_assets.ledger.database import Database
from ironclad_assets.ledger.rows import utc_now
from ironclad_assets.ledger.tables import jobs, pauses
from ironclad_assets.telemetry.request import current_request


class PauseKind(StrEnum):
    """What a pause is about."""

    ALL = "all"
    STAGE = "stage"
    ENGINE = "engine"
    USER = "user"


@dataclass(frozen=True, slots=True)
class Pause:
    """One pause. `subject` is the stage, engine or user; empty for everything. `since` is UTC in ISO 8601."""

    kind: PauseKind
    subject: str
    since: str
    actor: str
    request_id: str | None
    reason: str

    @property
    def title(self) -> str:
        """What is paused, such as ``stage stems`` or ``everything``."""
        return pause_title(self.kind, self.subject)

    def describe(self) -> str:
        """Return one line for people: what, since when, by whom, why."""
        return f"{self.title} since {self.since[:19]} by {self.actor}" + (f": {self.reason}" if self.reason else "")


class Pauses:
    """The pauses of one ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[Pause]:
        """Return every pause, the oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(select(pauses).order_by(pauses.c.since, pauses.c.kind, pauses.c.subject))
            return [_pause_of(row) for row in rows.mappings()]

    def set(self, kind: PauseKind, subject: str = "", *, actor: str, reason: str = "") -> bool:
        """Pause; return whether it was not paused before. Pausing again changes reason and actor, not the time.

        Raises:
            Refusal: `BAD_OPTION`: no such stage; the message names them all.
        """
        check_subject(kind, subject)
        values = {"actor": actor, "request_id": current_request(), "reason": reason}
        key = {"kind": kind.value, "subject": subject}
        with self._database.write() as connection:
            # Two may pause at once where writers run side by side: the database says who was first.
            row = _insert_unless_there(connection).values({**key, **values, "since": utc_now()})
            new = connection.execute(row).rowcount == 1
            if not new:
                connection.execute(update(pauses).where(_this(kind, subject)).values(values))
            write_audit(connection, "pause", pause_title(kind, subject), actor=actor, detail=reason)
            return new

    def lift(self, kind: PauseKind, subject: str = "", *, actor: str) -> bool:
        """Resume; return whether it was paused."""
        with self._database.write() as connection:
            found = connection.execute(delete(pauses).where(_this(kind, subject))).rowcount
            if found:
                write_audit(connection, "resume", pause_title(kind, subject), actor=actor)
            return bool(found)

    def of(self, kind: PauseKind, subject: str = "") -> Pause | None:
        """Return the pause of exactly this, if there is one."""
        with self._database.read() as connection:
            row = connection.execute(select(pauses).where(_this(kind, subject))).mappings().first()
            return None if row is None else _pause_of(row)

    def of_work_for(self, user_id: str) -> Pause | None:
        """Return the pause for which no work of this user shall begin: of everything, or of the user."""
        everything, user = _this(PauseKind.ALL, ""), _this(PauseKind.USER, user_id)
        with self._database.read() as connection:
            row = connection.execute(select(pauses).where(everything | user)).mappings().first()
            return None if row is None else _pause_of(row)


def pause_title(kind: PauseKind, subject: str) -> str:
    """Return what is paused in words."""
    return "everything" if kind is PauseKind.ALL else f"{kind} {subject}"


def check_subject(kind: PauseKind, subject: str) -> None:
    """Refuse a pause that could never come to anything; which engines there are is not the ledger's to know.

    Raises:
        Refusal: `BAD_OPTION`.
    """
    if kind is PauseKind.STAGE and subject not in STAGES:
        raise Refusal(f"stage {subject!r} is not one of {', '.join(STAGES)}", code=ErrorCode.BAD_OPTION)
    if (kind is PauseKind.ALL) != (subject == ""):
        raise Refusal(f"a pause of kind {kind} cannot be about {subject!r}", code=ErrorCode.BAD_OPTION)


def not_paused() -> ColumnElement[bool]:
    """Return the condition on a job that neither everything nor its user is paused; looked up once, not by row."""
    everything = exists().where(pauses.c.kind == PauseKind.ALL.value)
    users = select(pauses.c.subject).where(pauses.c.kind == PauseKind.USER.value)
    return ~everything & jobs.c.user_id.not_in(users)


def _insert_unless_there(connection: Connection) -> Insert:
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - a command on SQLite starts sooner without it

        return postgresql.insert(pauses).on_conflict_do_nothing()
    return sqlite.insert(pauses).on_conflict_do_nothing()


def _this(kind: PauseKind, subject: str) -> ColumnElement[bool]:
    return (pauses.c.kind == kind.value) & (pauses.c.subject == subject)


def _pause_of(row: RowMapping) -> Pause:
    return Pause(**{**row, "kind": PauseKind(row["kind"])})
