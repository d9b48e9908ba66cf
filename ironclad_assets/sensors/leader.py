"""Which machine's daemon works, where several share a Postgres: Dagster knows no two daemons of one instance.

The lock is a session's of the server, so it ends with the process that holds it, with its machine, and with the
connection to it. What the daemon does is in `daemon`, what is left to mend for a new leader in `reconcile`.
"""

import contextlib
import time

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from ironclad_assets.ledger.postgres import connect, make_engine

LOOK_S = 2.0
STATEMENT_TIMEOUT_S = 30.0
_LEADER_LOCK = 0x49524F4C  # any constant: names the advisory lock

_WATCHED = "SET tcp_keepalives_idle = 15; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
"""Lets the server notice within 30 s that a leader's machine vanished, and give the lock to another."""


class Leadership:
    """The lock of one database, held or not."""

    def __init__(self, url: str, *, patience_s: float = 0.0) -> None:
        """Prepare; `patience_s` is how long a server that does not answer is waited for."""
        self._engine = make_engine(url, kept=1, most=1, statement_timeout_s=STATEMENT_TIMEOUT_S, autocommit=True)
        self._patience_s = patience_s
        self._connection: Connection | None = None

    def take(self, *, wait_s: float) -> bool:
        """Take the lock unless another holds it for the next `wait_s` seconds; return whether it is held.

        Raises:
            OperationalError: the server does not answer.
        """
        connection = connect(self._engine, patience_s=self._patience_s)
        try:
            if self._await_lock(connection, until=time.monotonic() + wait_s):
                self._connection = connection
        finally:
            if self._connection is None:
                connection.close()
        return self._connection is not None

    def _await_lock(self, connection: Connection, *, until: float) -> bool:
        connection.execute(text(_WATCHED))
        asked = text("SELECT pg_try_advisory_lock(:lock)")
        while not connection.execute(asked, {"lock": _LEADER_LOCK}).scalar_one():
            left_s = until - time.monotonic()
            if left_s <= 0.0:
                return False
            time.sleep(min(LOOK_S, left_s))
        return True

    def is_held(self) -> bool:
        """Return whether the connection that has the lock still stands."""
        if self._connection is None:
            return False
        try:
            self._connection.execute(text("SELECT 1"))
        except DBAPIError:
            return False
        return True

    def close(self) -> None:
        """Let go of the lock."""
        if self._connection is not None:
            with contextlib.suppress(DBAPIError):
                self._connection.invalidate()  # a pooled connection would keep it
                self._connection.close()
            self._connection = None
        self._engine.dispose()
