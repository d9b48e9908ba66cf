"""Limits as operators set them: for a user, for a role, for the installation as a whole.

A user's own limit overrules that of the user's role, which overrules what the settings give to everybody. What
is counted against a limit is in `usage`; whoever enforces one asks `effective`.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue, ValidationError
from sqlalchemy import Connection, RowMapping, delete, insert, select
from sqlalchemy.sql.elements import ColumnElement

from ironclad_assets.contracts.v1.base import Contract
from ironclad_assets.contracts.v1.limits import (
    GUEST,
    LIMITS,
    RETENTION,
    SYSTEM_WIDE,
    EffectiveLimits,
    LimitScope,
    Role,
    SystemLimits,
)
from ironclad_assets.errors import ErrorCode, Refusal
from ironclad_assets.ledger.audit import write_audit
from ironclad_assets.ledger.database import Database
from ironclad_assets.ledger.rows import in_parts, utc_now
from ironclad_assets.ledger.rules import Rules
from ironclad_assets.ledger.tables import limits, users

LimitValue = int | float | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class LimitRow:
    """One limit that somebody set. `subject` is a role or a user, empty for the system."""

    scope: LimitScope
    subject: str
    name: str
    value: LimitValue
    updated_at: str


class Limits:
    """The limits of one ledger."""

    def __init__(self, database: Database, *, rules: Rules) -> None:
        self._database = database
        self._rules = rules

    def effective(self, user_id: str) -> EffectiveLimits:
        """Return every limit that holds for the user, known or not."""
        with self._database.read() as connection:
            return effective_limits(connection, user_id, rules=self._rules)

    def explain(self, user_id: str) -> tuple[Role, EffectiveLimits, dict[str, LimitScope]]:
        """Return the user's role and limits, and for each limit that somebody set, for whom: user, role or system."""
        with self._database.read() as connection:
            found = connection.execute(select(users.c.role).where(users.c.user_id == user_id)).scalar()
            role = Role(found) if found else self._rules.unknown_role
            return role, *_combine(_set_for(connection, [user_id]), role, user_id=user_id, rules=self._rules)

    def of_role(self, role: Role) -> EffectiveLimits:
        """Return the limits of users of a role who have none of their own."""
        with self._database.read() as connection:
            return _combine(_set_for(connection, []), role, user_id=None, rules=self._rules)[0]

    def system(self) -> SystemLimits:
        """Return what all users together may use."""
        with self._database.read() as connection:
            return system_limits(connection)

    def rows(self) -> list[LimitRow]:
        """Return every limit that somebody set, the system's first."""
        chosen = select(limits).order_by(limits.c.scope, limits.c.subject, limits.c.name)
        with self._database.read() as connection:
            found = [LimitRow(**{**row, **_read(row)}) for row in connection.execute(chosen).mappings()]
        order = list(LimitScope)
        return sorted(found, key=lambda row: order.index(row.scope))

    def set(self, scope: LimitScope, subject: str, name: str, value: LimitValue, *, actor: str) -> None:
        """Set one limit, in place of what was set before; None means that there shall be none.

        Raises:
            Refusal: `BAD_OPTION`: no such limit, role or value; the message says what there is.
        """
        checked = check_limit(scope, subject, name=name, value=value)
        with self._database.write() as connection:
            connection.execute(delete(limits).where(_these(scope, subject, name=name)))
            values = {"scope": scope.value, "subject": subject, "name": name, "value": checked, "updated_at": utc_now()}
            connection.execute(insert(limits).values(values))
            write_audit(connection, "limit_set", _title(scope, subject), actor=actor, detail=f"{name} = {checked}")

    def clear(self, scope: LimitScope, subject: str, name: str | None = None, *, actor: str) -> int:
        """Forget one limit, or all of a subject; return how many were set."""
        with self._database.write() as connection:
            found = connection.execute(delete(limits).where(_these(scope, subject, name=name))).rowcount
            if found:
                detail = name or f"all {found}"
                write_audit(connection, "limit_cleared", _title(scope, subject), actor=actor, detail=detail)
            return found


def effective_limits(connection: Connection, user_id: str, *, rules: Rules) -> EffectiveLimits:
    """Return every limit that holds for the user inside a transaction."""
    return limits_of_users(connection, [user_id], rules=rules)[user_id]


def limits_of_users(connection: Connection, user_ids: Sequence[str], *, rules: Rules) -> dict[str, EffectiveLimits]:
    """Return every limit that holds for each user, known or not: two statements for as many as one may name."""
    found: dict[str, EffectiveLimits] = {}
    for part in in_parts(user_ids):
        known = select(users.c.user_id, users.c.role).where(users.c.user_id.in_(part))
        roles = {row.user_id: Role(row.role) for row in connection.execute(known)}
        chosen = _set_for(connection, part)
        for user_id in part:
            role = roles.get(user_id, rules.unknown_role)
            found[user_id] = _combine(chosen, role, user_id=user_id, rules=rules)[0]
    return found


_Set = dict[tuple[str, str], dict[str, JsonValue]]
"""Limits that somebody set: by scope and subject, each name's value."""


def _set_for(connection: Connection, user_ids: Sequence[str]) -> _Set:
    """Return what was set for the system, for roles, and for each of these users."""
    theirs = (limits.c.scope == LimitScope.USER.value) & limits.c.subject.in_(user_ids)
    # Not "any other scope": that would read the limits of all users to find them.
    these = theirs | limits.c.scope.in_([LimitScope.SYSTEM.value, LimitScope.ROLE.value])
    found: _Set = defaultdict(dict)
    for row in connection.execute(select(limits.c.scope, limits.c.subject, limits.c.name, limits.c.value).where(these)):
        found[row.scope, row.subject][row.name] = row.value
    return found


def _combine(
    found: _Set, role: Role, *, user_id: str | None, rules: Rules
) -> tuple[EffectiveLimits, dict[str, LimitScope]]:
    """Return the limits of a role, or of a user who has it, and for each that somebody set, for whom."""
    subjects = {LimitScope.SYSTEM: "", LimitScope.ROLE: role.value, LimitScope.USER: user_id}
    values = built_in(role, rules=rules).model_dump()
    sources: dict[str, LimitScope] = {}
    for scope in LimitScope:
        subject = subjects[scope]
        own = {} if subject is None else found.get((scope.value, subject), {})
        for name in RETENTION if scope is LimitScope.SYSTEM else tuple(LIMITS):
            if name in own:
                values[name], sources[name] = own[name], scope
    return EffectiveLimits.model_validate(values), sources


def system_limits(connection: Connection) -> SystemLimits:
    """Return what all users together may use, inside a transaction."""
    chosen = select(limits.c.name, limits.c.value).where(_these(LimitScope.SYSTEM, ""))
    found = {row.name: row.value for row in connection.execute(chosen)}
    return SystemLimits(**{name: found[name] for name in SystemLimits.model_fields if name in found})


def check_limit(scope: LimitScope, subject: str, *, name: str, value: LimitValue) -> JsonValue:
    """Return `value` as it is stored.

    Raises:
        Refusal: `BAD_OPTION`.
    """
    known = SYSTEM_WIDE if scope is LimitScope.SYSTEM else tuple(LIMITS)
    if name not in known:
        raise Refusal(f"{name!r} is no limit of a {scope}, only {', '.join(known)}", code=ErrorCode.BAD_OPTION)
    if scope is LimitScope.ROLE and subject not in list(Role):
        raise Refusal(f"{subject!r} is no role, only {', '.join(Role)}", code=ErrorCode.BAD_OPTION)
    if (scope is LimitScope.SYSTEM) != (subject == ""):
        raise Refusal(f"a limit of a {scope} cannot be about {subject!r}", code=ErrorCode.BAD_OPTION)
    total = scope is LimitScope.SYSTEM and name in SystemLimits.model_fields
    contract: type[Contract] = SystemLimits if total else EffectiveLimits
    try:
        values: dict[str, JsonValue] = contract.model_validate({name: value}).model_dump(mode="json")
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise Refusal(f"{name} cannot be {value!r}: {reason}", code=ErrorCode.BAD_OPTION) from None
    return values[name]


def built_in(role: Role, *, rules: Rules) -> EffectiveLimits:
    """Return what a role gets where nobody set anything: what the settings say, for guests never more than `GUEST`."""
    if role is not Role.GUEST:
        return rules.limits
    values = rules.limits.model_dump()
    for name, most in GUEST.model_dump().items():
        if name not in RETENTION and name != "types" and most is not None:
            values[name] = most if values[name] is None else min(values[name], most)
    return EffectiveLimits.model_validate(values)


def _these(scope: LimitScope, subject: str, *, name: str | None = None) -> ColumnElement[bool]:
    chosen = (limits.c.scope == scope.value) & (limits.c.subject == subject)
    return chosen if name is None else chosen & (limits.c.name == name)


def _title(scope: LimitScope, subject: str) -> str:
    return f"{scope} {subject}".strip()


def _read(row: RowMapping) -> dict[str, Any]:  # columns have as many types as names
    value = tuple(row["value"]) if isinstance(row["value"], list) else row["value"]
    return {"scope": LimitScope(row["scope"]), "value": value}
