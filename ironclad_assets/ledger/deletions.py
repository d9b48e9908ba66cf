"""Deletions: songs and users that somebody wants gone, from the request to the receipt.

A request is one transaction: from then on the song is nobody's duplicate, gets no run, and its tombstone stands.
What has to go beyond the ledger is `upkeep/erase/eraser.py`'s and `sensors/erase.py`'s; when they are through,
`forget_song` takes the rows and `finish` leaves the receipt, which names nothing.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, RowMapping, insert, select, text, update
from sqlalchemy.sql.elements import ColumnElement

from ironclad_assets.errors import ErrorCode, failure
from ironclad_assets.ledger.audit import write_audit
from ironclad_assets.ledger.compact import compact
from ironclad_assets.ledger.condemn import condemn_songs, condemn_user, find_users, lock_writers, songs_to_delete
from ironclad_assets.ledger.database import Database
from ironclad_assets.ledger.forget import Traces, forget_songs, forget_user, is_original_wanted, read_traces
from ironclad_assets.ledger.rows import utc_now
from ironclad_assets.ledger.sweeps import take_original_turn
from ironclad_assets.ledger.tables import deletions, songs
from ironclad_assets.ledger.tombstones import (
    Tombstone,
    add_tombstone,
    all_tombstones,
    digest_of,
    has_tombstone,
    newest,
    require_not_deleted,
)
from ironclad_assets.telemetry.request import current_request

_TURN = 0x45524153  # any constant: names the advisory lock on Postgres

Removed = Mapping[str, Mapping[str, int]]
"""What went: for each kind how many (``count``) and, where they have a size, how large (``bytes``)."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """One deletion. `subject` is None once nothing of it is left; times are UTC in ISO 8601."""

    receipt: str
    kind: Literal["song", "user"]
    subject: str | None
    state: Literal["requested", "done"]
    requested_at: str
    actor: str
    request_id: str | None
    completed_at: str | None
    removed: Removed | None

    @property
    def done(self) -> bool:
        return self.state == "done"


class Deletions:
    """The deletions of one ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def request_song(self, song: str, *, actor: str) -> Deletion:
        """Ask for a song to be deleted; asked twice, it is the same deletion.

        Its waiting jobs are canceled, its running one is asked to stop, and no other begins.

        Raises:
            PermanentFailure: `UNKNOWN_SONG`; or `DELETED` where that was done already.
        """
        with self._database.write() as connection:
            known = _find_open(connection, "song", song)
            if known is not None:
                return known
            if connection.execute(select(songs.c.song).where(songs.c.song == song)).first() is None:
                require_not_deleted(connection, "song", song)
                raise failure(ErrorCode.UNKNOWN_SONG, f"there is no song {song!r}")
            deletion = _insert(connection, "song", song, actor=actor)
            condemn_songs(connection, [song], at=deletion.requested_at, receipt=deletion.receipt, actor=actor)
            return deletion

    def request_user(self, user_id: str, *, actor: str, known: bool = False) -> Deletion:
        """Ask for a user to be deleted, with every song that the user has now; asked twice, it is the same deletion.

        What the installation knew of the user (role, limits, defaults, terms, pauses) is gone when this returns. What
        comes under that name afterwards belongs to a new user.

        Args:
            user_id: whose things go.
            actor: who asks.
            known: whether the user is known elsewhere, such as by a folder for uploads.

        Raises:
            PermanentFailure: `UNKNOWN_USER`, where nothing here is that user's.
        """
        with self._database.write() as connection:
            open_one = _find_open(connection, "user", user_id)
            if open_one is not None:
                return open_one
            if not known and user_id not in find_users(connection):
                raise failure(ErrorCode.UNKNOWN_USER, f"there is no user {user_id!r}")
            deletion = _insert(connection, "user", user_id, actor=actor)
            condemn_user(connection, user_id, at=deletion.requested_at, receipt=deletion.receipt, actor=actor)
            return deletion

    def open(self) -> list[Deletion]:
        """Return the deletions that are not done, oldest first."""
        chosen = select(deletions).where(deletions.c.state == "requested")
        with self._database.read() as connection:
            rows = connection.execute(chosen.order_by(deletions.c.requested_at, deletions.c.receipt)).mappings()
            return [_deletion_of(row) for row in rows]

    def is_leaving(self, user_id: str) -> bool:
        """Return whether the user's deletion was asked for and is not done."""
        chosen = select(deletions.c.receipt).where(_is_open("user", user_id)).limit(1)
        with self._database.read() as connection:
            return connection.execute(chosen).first() is not None

    def receipts(self, *, limit: int = 100) -> list[Deletion]:
        """Return deletions, the latest request first."""
        chosen = select(deletions).order_by(deletions.c.requested_at.desc(), deletions.c.receipt).limit(limit)
        with self._database.read() as connection:
            return [_deletion_of(row) for row in connection.execute(chosen).mappings()]

    def receipt(self, receipt: str) -> Deletion:
        """Return the deletion that has this receipt, or whose receipt begins so.

        Raises:
            PermanentFailure: with `UNKNOWN_RECEIPT`, where there is none, or several begin so.
        """
        chosen = select(deletions).where(deletions.c.receipt.startswith(receipt, autoescape=True)).limit(2)
        with self._database.read() as connection:
            found = [_deletion_of(row) for row in connection.execute(chosen).mappings()]
        if len(found) != 1:
            raise failure(ErrorCode.UNKNOWN_RECEIPT, f"{len(found)} receipts begin with {receipt!r}")
        return found[0]

    def traces(self, deletion: Deletion) -> list[Traces]:
        """Return what tells of each song that the deletion concerns: where to look for what has to go."""
        if deletion.subject is None:
            return []
        with self._database.read() as connection:
            chosen = songs_to_delete(connection, deletion.kind, deletion.subject)
            return [read_traces(connection, song) for song in chosen]

    @contextmanager
    def hold_original(self, archive_path: str) -> Iterator[bool]:
        """Say whether a song that stays has its original there; nobody registers it inside the block.

        What happens inside must be quick: on SQLite nobody else writes meanwhile.
        """
        with self._database.write() as connection:
            take_original_turn(connection, archive_path)
            yield is_original_wanted(connection, archive_path)

    def forget_songs(self, chosen: Iterable[str], *, receipt: str, removed: Removed) -> None:
        """Remove every row about these songs, and add what went with them to the receipt, as one.

        The audit then names the receipt where it named one of them.
        """
        with self._database.write() as connection:
            rows = forget_songs(connection, list(chosen), receipt=receipt)
            _add_removed(connection, receipt, removed={**removed, "records": {"count": rows}})

    def forget_user(self, user_id: str, *, before: str, receipt: str) -> None:
        """Let nothing name the user of the time `before` any more."""
        with self._database.write() as connection:
            forget_user(connection, user_id, before=before, receipt=receipt)

    def forget_subject(self, receipt: str, *, removed: Removed) -> None:
        """Forget what the deletion is about, now that nothing is left of it, and add what went last to the receipt."""
        with self._database.write() as connection:
            _add_removed(connection, receipt, removed=removed)
            connection.execute(update(deletions).where(deletions.c.receipt == receipt).values(subject=None))

    def finish(self, receipt: str) -> Deletion:
        """Note that nothing is left, in no database's own files either; done once, it stays so."""
        with self._database.write() as connection:
            row = connection.execute(select(deletions).where(deletions.c.receipt == receipt).with_for_update())
            before = _deletion_of(row.mappings().one())
            if before.done:
                return before
            values = {"state": "done", "subject": None, "completed_at": utc_now()}
            connection.execute(update(deletions).where(deletions.c.receipt == receipt).values(values))
            write_audit(connection, "deletion-done", receipt, actor="eraser")
            return _by_receipt(connection, receipt)

    def tombstones(self) -> list[Tombstone]:
        """Return every tombstone, oldest first."""
        with self._database.read() as connection:
            return all_tombstones(connection)

    def is_deleted(self, song: str) -> bool:
        """Return whether the song was deleted, or is about to be."""
        with self._database.read() as connection:
            return has_tombstone(connection, "song", song)

    def adopt(self, stones: Iterable[Tombstone]) -> int:
        """Take over tombstones, and open the deletion again of whatever is here though it was deleted.

        Of a user whose tombstone this ledger had, it has only what came after, whatever a clock that jumped made of
        the times: that is left alone.

        Returns:
            How many songs and users will be deleted again.
        """
        chosen = list(stones)
        with self._database.write() as connection:
            known = newest(all_tombstones(connection))
            for stone in chosen:
                add_tombstone(connection, stone)
            by_digest = {stone.digest: stone for stone in chosen}
            news = {name: one for name, one in by_digest.items() if name not in known or known[name].at < one.at}
            return _reopen_songs(connection, by_digest) + _reopen_users(connection, news)

    @contextmanager
    def take_turn(self) -> Iterator[bool]:
        """Tell whether nobody else carries out deletions of this ledger, and keep it so inside the block.

        A SQLite file belongs to one home, whose own lock decides; several machines may share a server.
        """
        with self._database.read() as connection:
            if connection.dialect.name != "postgresql":
                connection.rollback()  # a reader would keep the file from being compacted
                yield True
                return
            alone = connection.execution_options(isolation_level="AUTOCOMMIT")
            mine = bool(alone.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _TURN}).scalar())
            try:
                yield mine
            finally:
                if mine:
                    alone.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _TURN})

    def compact(self) -> None:
        """Let no deleted row remain readable in the database's own files.

        Raises:
            StorageUnavailable: somebody reads or writes all the time; nothing is lost, try again.
        """
        compact(self._database)


def _insert(
    connection: Connection,
    kind: Literal["song", "user"],
    subject: str,
    *,
    actor: str,
    receipt: str | None = None,
    at: str | None = None,
) -> Deletion:
    row = {
        "receipt": receipt or str(uuid.uuid4()),
        "kind": kind,
        "subject": subject,
        "state": "requested",
        "requested_at": at or utc_now(),
        "actor": actor,
        "request_id": current_request(),
    }
    connection.execute(insert(deletions).values(row))
    write_audit(connection, f"delete-{kind}", row["receipt"] or "", actor=actor)
    return _by_receipt(connection, row["receipt"] or "")


def _find_open(connection: Connection, kind: str, subject: str) -> Deletion | None:
    """Return the deletion of the subject that is not done; a lock makes two requests at once one."""
    lock_writers(connection)
    row = connection.execute(select(deletions).where(_is_open(kind, subject))).mappings().first()
    return None if row is None else _deletion_of(row)


def _is_open(kind: str, subject: str) -> ColumnElement[bool]:
    return (deletions.c.kind == kind) & (deletions.c.subject == subject) & (deletions.c.state == "requested")


def _add_removed(connection: Connection, receipt: str, *, removed: Removed) -> None:
    this = deletions.c.receipt == receipt
    before = connection.execute(select(deletions.c.removed).where(this).with_for_update()).scalar() or {}
    total: dict[str, dict[str, int]] = {kind: dict(counts) for kind, counts in before.items()}
    for kind, counts in removed.items():
        known = total.setdefault(kind, {})
        for name, number in counts.items():
            known[name] = known.get(name, 0) + number
    said = {kind: counts for kind, counts in sorted(total.items()) if counts.get("count")}
    connection.execute(update(deletions).where(this).values(removed=said))


def _by_receipt(connection: Connection, receipt: str) -> Deletion:
    return _deletion_of(connection.execute(select(deletions).where(deletions.c.receipt == receipt)).mappings().one())


def _deletion_of(row: RowMapping) -> Deletion:
    return Deletion(**row)


def _reopen(connection: Connection, kind: Literal["song", "user"], subject: str, *, stone: Tombstone) -> None:
    """Open the deletion that set `stone` again, for `subject`, or make it anew where its receipt was lost."""
    this = deletions.c.receipt == stone.receipt
    if connection.execute(select(deletions.c.receipt).where(this)).first() is None:
        _insert(connection, kind, subject, actor="restore", receipt=stone.receipt, at=stone.at)
        return
    values = {"kind": kind, "subject": subject, "state": "requested", "completed_at": None}
    connection.execute(update(deletions).where(this).values(values))


def _reopen_songs(connection: Connection, stones: Mapping[str, Tombstone]) -> int:
    """Condemn the songs that are here though they were deleted; return how many."""
    reopened = 0
    for song, user_id in connection.execute(select(songs.c.song, songs.c.user_id)).all():
        stone = stones.get(digest_of("song", song))
        if stone is None:
            continue
        whole_user = stones.get(digest_of("user", user_id))
        if whole_user is not None and whole_user.receipt == stone.receipt:
            _reopen(connection, "user", user_id, stone=stone)
        else:
            _reopen(connection, "song", song, stone=stone)
        condemn_songs(connection, [song], at=stone.at, receipt=stone.receipt, actor="restore")
        reopened += 1
    return reopened


def _reopen_users(connection: Connection, stones: Mapping[str, Tombstone]) -> int:
    """Condemn the users that are here as they were before they were deleted; return how many."""
    reopened = 0
    for user_id, since in find_users(connection).items():
        stone = stones.get(digest_of("user", user_id))
        if stone is not None and since <= stone.at:
            _reopen(connection, "user", user_id, stone=stone)
            condemn_user(connection, user_id, at=stone.at, receipt=stone.receipt, actor="restore")
            reopened += 1
    return reopened
