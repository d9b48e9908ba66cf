"""How this project speaks to Postgres: which driver, how many connections, how long it waits, what is never waited for.

The ledger and Dagster's storage make their engines here, so that both survive a server that goes away: a dead
connection is found before it is used, a silent host within half a minute, and whoever has time waits for the
server instead of failing. What is asked of the database is not known here.
"""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, OperationalError

from ironclad_assets.settings import name_driver

T = TypeVar("T")

CONNECT_TIMEOUT_S = 10
KEEPALIVE: dict[str, int] = {
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""A host that vanished without a word is noticed within 30 s; the last one in milliseconds."""

LOCK_TIMEOUT_MS = 30_000
IDLE_TRANSACTION_MS = 600_000
"""A process that was frozen inside a transaction loses it, so that nobody waits for its locks for ever."""

RECYCLE_S = 1800
LONGEST_WAIT_FOR_POOL_S = 60.0
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0

SERVER_PATIENCE_S = 600.0
"""How long a run, the daemon or the code server waits for a server that does not answer."""

_patience_s = 0.0


def make_engine(
    url: str,
    *,
    kept: int,
    most: int,
    statement_timeout_s: float,
    schema: str | None = None,
    autocommit: bool = False,
    synced: bool = True,
) -> Engine:
    """Return a lazily opened pool; see the module for what its connections have in common.

    Args:
        url: SQLAlchemy URL; parameters of libpq in its query win over those here.
        kept: connections that stay open once they were needed.
        most: connections at the same time; who wants one more waits.
        statement_timeout_s: what the server ends after that.
        schema: the only schema in which tables are looked for; None for the role's own search path.
        autocommit: every statement is a transaction.
        synced: a commit is on disk when it returns; else a crash of the server may take those of the last second,
            unless a synced one came after them.
    """
    target = make_url(name_driver(url))
    defaults: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT_S, "application_name": "ironclad", **KEEPALIVE}
    engine = create_engine(
        target,
        pool_size=kept,
        max_overflow=most - kept,
        pool_pre_ping=True,
        pool_recycle=RECYCLE_S,
        pool_timeout=LONGEST_WAIT_FOR_POOL_S,
        pool_use_lifo=True,
        connect_args={name: value for name, value in defaults.items() if name not in target.query},
        **({"isolation_level": "AUTOCOMMIT"} if autocommit else {}),
    )
    options = {
        "statement_timeout": round(statement_timeout_s * 1000),
        "lock_timeout": LOCK_TIMEOUT_MS,
        "idle_in_transaction_session_timeout": IDLE_TRANSACTION_MS,
        **({"search_path": schema} if schema else {}),
        **({} if synced else {"synchronous_commit": "off"}),
    }
    # One round trip, and no start-up options: poolers such as PgBouncer refuse those.
    said = "; ".join(f"SET {name} = {value}" for name, value in options.items())

    def prepare(connection: DBAPIConnection, record: object) -> None:
        before, connection.autocommit = connection.autocommit, True
        cursor = connection.cursor()
        cursor.execute(said)
        cursor.close()
        connection.autocommit = before

    event.listen(engine, "connect", prepare, insert=True)  # before SQLAlchemy asks for the schema's name
    return engine


def wait_for_servers(seconds: float) -> None:
    """Let this process wait so long for a server that does not answer, from now on; without that it does not wait.

    Commands and pages are told at once; a run has time, and nothing better to do.
    """
    global _patience_s
    _patience_s = seconds


def connect(engine: Engine, *, patience_s: float | None = None) -> Connection:
    """Return a connection that works; while the server does not answer, try again for `patience_s` seconds.

    Raises:
        OperationalError: it did not answer in that time (by default that of `wait_for_servers`).
    """
    return insist(engine.connect, patience_s=_patience_s if patience_s is None else patience_s)


def is_refused(error: DBAPIError) -> bool:
    """Return whether an attempt to connect failed for what may pass."""
    return isinstance(error, OperationalError)


def insist(ask: Callable[[], T], *, patience_s: float, is_away: Callable[[DBAPIError], bool] = is_refused) -> T:
    """Return what `ask` returns; while the server does not answer, ask again for `patience_s` seconds.

    Args:
        ask: raises what SQLAlchemy raises.
        patience_s: how long it is asked.
        is_away: whether an error says that the server does not answer; others are raised at once.

    Raises:
        DBAPIError: it did not answer in that time.
    """
    deadline = time.monotonic() + patience_s
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return ask()
        except DBAPIError as error:
            if not is_away(error) or time.monotonic() + pause_s > deadline:
                raise
        time.sleep(pause_s)
        pause_s = min(2.0 * pause_s, LONGEST_PAUSE_S)
