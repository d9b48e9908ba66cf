"""Who may hand in songs, and as what.

A user is made when the name is seen for the first time, unless the installation serves known users only; an
operator gives roles and disables. What a role may use is in `limits`, whether terms were accepted in `terms`.
"""

from sqlalchemy import Connection, insert, select, update

from ironclad_assets.contracts.v1.limits import Role, User
from ironclad_assets.errors import ErrorCode, Refusal, failure
from ironclad_assets.ledger.audit import write_audit
from ironclad_assets.ledger.database import Database, take_turns
from ironclad_assets.ledger.rows import utc_now
from ironclad_assets.ledger.rules import Rules
from ironclad_assets.ledger.tables import users


class Users:
    """The users of one ledger."""

    def __init__(self, database: Database, *, rules: Rules) -> None:
        self._database = database
        self._rules = rules

    def find(self, user_id: str) -> User | None:
        """Return the user, or None where there is none of that name."""
        with self._database.read() as connection:
            return find_user(connection, user_id)

    def list(self) -> list[User]:
        """Return every user, by name."""
        with self._database.read() as connection:
            rows = connection.execute(select(users).order_by(users.c.user_id)).mappings()
            return [User.model_validate(dict(row)) for row in rows]

    def add(self, user_id: str, *, role: Role, actor: str) -> User:
        """Make a user; one who is there already gets the role."""
        with self._database.write() as connection:
            take_user_turn(connection, user_id)
            found = find_user(connection, user_id)
            if found is None:
                _insert(connection, user_id, role=role)
                write_audit(connection, "user_added", user_id, actor=actor, detail=role.value)
            elif found.role is not role:
                _change(connection, user_id, role=role.value)
                write_audit(connection, "user_role", user_id, actor=actor, detail=f"{found.role} to {role}")
            return _require(connection, user_id)

    def set_role(self, user_id: str, role: Role, *, actor: str) -> User:
        """Give a user another role.

        Raises:
            PermanentFailure: with `UNKNOWN_USER`.
        """
        with self._database.write() as connection:
            take_user_turn(connection, user_id)
            before = _require(connection, user_id)
            if before.role is not role:
                _change(connection, user_id, role=role.value)
                write_audit(connection, "user_role", user_id, actor=actor, detail=f"{before.role} to {role}")
            return _require(connection, user_id)

    def set_disabled(self, user_id: str, disabled: bool, *, actor: str) -> User:
        """Take nothing more in from a user, or take it in again. Jobs that are there already go on.

        Raises:
            PermanentFailure: with `UNKNOWN_USER`.
        """
        with self._database.write() as connection:
            take_user_turn(connection, user_id)
            before = _require(connection, user_id)
            if before.disabled is not disabled:
                _change(connection, user_id, disabled=disabled)
                action = "user_disabled" if disabled else "user_enabled"
                write_audit(connection, action, user_id, actor=actor)
            return _require(connection, user_id)


def take_user_turn(connection: Connection, user_id: str) -> None:
    """Keep other writers of what is the user's out until this transaction ends."""
    take_turns(connection, f"user:{user_id}")


def find_user(connection: Connection, user_id: str) -> User | None:
    """Return the user, or None where there is none of that name."""
    row = connection.execute(select(users).where(users.c.user_id == user_id)).mappings().first()
    return None if row is None else User.model_validate(dict(row))


def check_served(user: User | None, user_id: str, *, rules: Rules) -> None:
    """Raise unless the user, known or new, may hand in songs.

    Raises:
        Refusal: `UNKNOWN_USER` or `USER_DISABLED`.
    """
    if user is None and rules.closed:
        raise Refusal(f"{user_id!r} is no user of this installation", code=ErrorCode.UNKNOWN_USER)
    if user is not None and user.disabled:
        raise Refusal(f"user {user_id!r} is disabled", code=ErrorCode.USER_DISABLED)


def see_user(connection: Connection, user_id: str, *, rules: Rules) -> None:
    """Make the user known, as the role that unknown users get; call `take_user_turn` before."""
    if find_user(connection, user_id) is None:
        _insert(connection, user_id, role=rules.unknown_role)


def _insert(connection: Connection, user_id: str, *, role: Role) -> None:
    connection.execute(insert(users).values(user_id=user_id, role=role.value, disabled=False, created_at=utc_now()))


def _change(connection: Connection, user_id: str, **values: object) -> None:
    connection.execute(update(users).where(users.c.user_id == user_id).values(**values))


def _require(connection: Connection, user_id: str) -> User:
    found = find_user(connection, user_id)
    if found is None:
        raise failure(ErrorCode.UNKNOWN_USER, f"there is no user {user_id!r}")
    return found
