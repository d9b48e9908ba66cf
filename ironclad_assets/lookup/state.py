"""What all processes of an installation know together about the sources: turns, answers, health.

One small SQLite file in the home. It is a memory, never the truth: when it is damaged it is begun anew, and when it
cannot be written nobody is asked, because politeness could not be kept. Runs in children: standard library only.
"""

import fcntl
import sqlite3
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

FILE_NAME = "lookup.db"
MAX_ANSWERS = 20_000
"""Answers kept; at about 5 kB each they stay below 100 MB."""

LONGEST_BLOCK_S = 3600.0
"""Longest time that a server's wish to be left alone is heeded, and bound on what a wrong clock can do."""

TRIAL_S = 30.0
"""How long others wait for the outcome when a source is tried again after a rest."""

_BUSY_S = 5.0
_SCHEMA = """
create table if not exists turns (host text primary key, next_at real not null, blocked_until real not null);
create table if not exists answers (key text primary key, status integer not null, body blob not null,
                                    at real not null);
create table if not exists sources (name text primary key, failures integer not null, rest_until real not null,
                                    last_error text not null, last_error_at real, last_answer_at real);
"""


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer in the cache: HTTP status, body, and when it was given (seconds since 1970)."""

    status: int
    body: bytes
    at: float


@dataclass(frozen=True, slots=True)
class SourceState:
    """How a source has been doing.

    Attributes:
        failures: in a row, up to now.
        rest_until: until when it is left alone, seconds since 1970; 0 where it is not.
        last_error: why it last gave no answer; empty where it always did.
        last_error_at: when that was.
        last_answer_at: when it last answered.
    """

    name: str
    failures: int = 0
    rest_until: float = 0.0
    last_error: str = ""
    last_error_at: float | None = None
    last_answer_at: float | None = None


class SharedState:
    """The open file. Every method is one transaction; any may raise `sqlite3.Error`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._connection = _open(path)
        except sqlite3.OperationalError:  # locked, read-only, no such folder: nothing to mend
            raise
        except sqlite3.DatabaseError:
            self._connection = _begin_anew(path)

    def close(self) -> None:
        self._connection.close()

    def take_turn(self, host: str, *, interval_s: float, patience_s: float) -> float | None:
        """Reserve the next free moment for one request to `host`.

        Args:
            host: whom the request goes to.
            interval_s: least time between two requests of the whole installation.
            patience_s: longest wait that is acceptable.

        Returns:
            Seconds to wait before asking; None where that would be longer than `patience_s`, and then nothing is
            reserved.
        """
        with self._transaction() as connection:
            now = time.time()
            row = connection.execute("select next_at, blocked_until from turns where host = ?", (host,)).fetchone()
            next_at, blocked_until = row or (0.0, 0.0)
            at = max(now, _sane(next_at, now=now), _sane(blocked_until, now=now))
            if at - now > patience_s:
                return None
            connection.execute(
                "insert into turns values (?, ?, ?) on conflict (host) do update set next_at = excluded.next_at",
                (host, at + interval_s, 0.0),
            )
            return at - now

    def blocked_s(self, host: str) -> float:
        """Return how long `host` still wants to be left alone; 0 where it does not."""
        row = self._connection.execute("select blocked_until from turns where host = ?", (host,)).fetchone()
        now = time.time()
        return 0.0 if row is None else max(0.0, _sane(row[0], now=now) - now)

    def block(self, host: str, *, seconds: float) -> None:
        """Keep everybody from asking `host` for a while, because it said so."""
        with self._transaction() as connection:
            until = time.time() + min(max(seconds, 0.0), LONGEST_BLOCK_S)
            connection.execute(
                "insert into turns values (?, 0, ?)"
                " on conflict (host) do update set blocked_until = max(blocked_until, excluded.blocked_until)",
                (host, until),
            )

    def may_ask(self, source: str) -> bool:
        """Return whether `source` may be asked now; after a rest, one process at a time may try."""
        with self._transaction() as connection:
            row = connection.execute("select rest_until from sources where name = ?", (source,)).fetchone()
            if row is None or row[0] == 0.0:
                return True
            now = time.time()
            if _sane(row[0], now=now) > now:
                return False
            connection.execute("update sources set rest_until = ? where name = ?", (now + TRIAL_S, source))
            return True

    def succeeded(self, source: str) -> None:
        """Note that `source` answered as it should, also when it knows nothing."""
        with self._transaction() as connection:
            connection.execute(
                "insert into sources values (?, 0, 0, '', null, ?) on conflict (name) do update set"
                " failures = 0, rest_until = 0, last_answer_at = excluded.last_answer_at",
                (source, time.time()),
            )

    def failed(self, source: str, *, why: str, after: int, rest_s: float) -> None:
        """Note that `source` gave no answer; from `after` failures in a row on it is left alone for `rest_s`."""
        with self._transaction() as connection:
            now = time.time()
            connection.execute(
                "insert into sources values (?, 1, 0, ?, ?, null) on conflict (name) do update set"
                " failures = failures + 1, last_error = excluded.last_error, last_error_at = excluded.last_error_at",
                (source, why, now),
            )
            connection.execute(
                "update sources set rest_until = ? where name = ? and failures >= ?", (now + rest_s, source, after)
            )

    def answer(self, key: str) -> KeptAnswer | None:
        """Return the kept answer to the question `key`, however old."""
        row = self._connection.execute("select status, body, at from answers where key = ?", (key,)).fetchone()
        try:
            return None if row is None else KeptAnswer(row[0], zlib.decompress(row[1]), row[2])
        except zlib.error:
            return None

    def keep(self, key: str, *, status: int, body: bytes) -> None:
        """Keep an answer, and forget the oldest where there are too many."""
        with self._transaction() as connection:
            connection.execute(
                "insert or replace into answers values (?, ?, ?, ?)", (key, status, zlib.compress(body), time.time())
            )
            connection.execute(
                "delete from answers where key in (select key from answers order by at desc limit -1 offset ?)",
                (MAX_ANSWERS,),
            )

    def forget(self, key: str) -> None:
        """Forget an answer that turned out to be none."""
        with self._transaction() as connection:
            connection.execute("delete from answers where key = ?", (key,))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("begin immediate")
        try:
            yield self._connection
        except BaseException:
            self._connection.execute("rollback")
            raise
        self._connection.execute("commit")


def read_states(path: Path) -> dict[str, SourceState]:
    """Return how each source that was ever asked has been doing; nothing is created or changed.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    if not path.exists():
        return {}
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_S)) as connection:
        rows = connection.execute(
            "select name, failures, rest_until, last_error, last_error_at, last_answer_at from sources"
        ).fetchall()
    return {row[0]: SourceState(*row) for row in rows}


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
    try:
        connection.execute("pragma synchronous = off")
        if connection.execute("select 1 from sqlite_master where name = 'sources'").fetchone() is None:
            connection.executescript(f"begin immediate; {_SCHEMA} commit;")
    except BaseException:
        connection.close()
        raise
    return connection


def _begin_anew(path: Path) -> sqlite3.Connection:
    """Replace a damaged file, unless another process just did."""
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return _open(path)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            for end in ("", "-journal"):
                path.with_name(path.name + end).unlink(missing_ok=True)
            return _open(path)


def _sane(moment: float, *, now: float) -> float:
    """Return `moment`, or `now` where it is so far ahead that a clock must have been wrong."""
    return moment if moment <= now + LONGEST_BLOCK_S else now
