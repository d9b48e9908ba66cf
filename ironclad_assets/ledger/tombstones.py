"""Tombstones: what was deleted, known only by a digest, so that it can be refused and cannot come back.

A digest tells whether a given id was deleted, and nothing to somebody who has no id to ask about. Who deletes is
`deletions`' business; the copy that a restore reads is kept by `upkeep/erase/tombstones.py`.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, insert, select

from ironclad_assets.errors import ErrorCode, failure
from ironclad_assets.ledger.rows import in_parts
from ironclad_assets.ledger.tables import tombstones

Subject = Literal["song", "job", "user"]


@dataclass(frozen=True, slots=True)
class Tombstone:
    """One thing that was deleted. `at` is when that was asked, UTC in ISO 8601; `receipt` proves it."""

    digest: str
    kind: str
    at: str
    receipt: str


def digest_of(kind: Subject, name: str) -> str:
    """Return what is kept of a deleted song, job or user: the SHA-256 of ``kind:name`` in hexadecimal."""
    return hashlib.sha256(f"{kind}:{name}".encode()).hexdigest()


def has_tombstone(connection: Connection, kind: Subject, name: str) -> bool:
    """Return whether the song, job or user was ever deleted."""
    chosen = select(tombstones.c.digest).where(tombstones.c.digest == digest_of(kind, name))
    return connection.execute(chosen).first() is not None


def receipt_of(connection: Connection, kind: Subject, name: str) -> str | None:
    """Return the receipt of the deletion that a song, job or user went with; None where it was never deleted."""
    chosen = select(tombstones.c.receipt).where(tombstones.c.digest == digest_of(kind, name))
    return connection.execute(chosen).scalar()


def without_tombstone(connection: Connection, kind: Subject, names: Sequence[str]) -> list[str]:
    """Return those of `names` that were never deleted."""
    by_digest = {digest_of(kind, name): name for name in names}
    for part in in_parts(tuple(by_digest)):
        found = connection.execute(select(tombstones.c.digest).where(tombstones.c.digest.in_(part))).scalars().all()
        for digest in found:
            del by_digest[digest]
    return list(by_digest.values())


def require_not_deleted(connection: Connection, kind: Subject, name: str) -> None:
    """Raise where the song or job was deleted, or is about to be.

    Raises:
        PermanentFailure: with `DELETED`.
    """
    if has_tombstone(connection, kind, name):
        raise failure(ErrorCode.DELETED, f"{kind} {name!r} was deleted; pipelinectl receipts has the proof")


def add_tombstone(connection: Connection, stone: Tombstone) -> None:
    """Set a tombstone; a second deletion of the same moves its time forward, never back."""
    this = tombstones.c.digest == stone.digest
    known = connection.execute(select(tombstones.c.at).where(this).with_for_update()).scalar()
    values = {"digest": stone.digest, "kind": stone.kind, "at": stone.at, "receipt": stone.receipt}
    if known is None:
        connection.execute(insert(tombstones).values(values))
    elif known < stone.at:
        connection.execute(tombstones.update().where(this).values(values))


def after_earlier(connection: Connection, stone: Tombstone) -> Tombstone:
    """Return `stone`, later than that of another deletion of the same, whatever a clock that jumped makes of its time.

    So a ledger that is older than the second deletion is told from one that is younger.
    """
    others = (tombstones.c.digest == stone.digest) & (tombstones.c.receipt != stone.receipt)
    known = connection.execute(select(tombstones.c.at).where(others).with_for_update()).scalar()
    if known is None or known < stone.at:
        return stone
    later = datetime.fromisoformat(known) + timedelta(microseconds=1)
    return replace(stone, at=later.isoformat(timespec="microseconds"))


def add_tombstones(connection: Connection, kind: Subject, names: Sequence[str], *, at: str, receipt: str) -> None:
    """Set the tombstones of songs or jobs that one deletion concerns; times move as with `add_tombstone`."""
    for part in in_parts([digest_of(kind, name) for name in names]):
        these = tombstones.c.digest.in_(part)
        known = set(connection.execute(select(tombstones.c.digest).where(these).with_for_update()).scalars())
        earlier = these & (tombstones.c.at < at)
        connection.execute(tombstones.update().where(earlier).values(kind=kind, at=at, receipt=receipt))
        new = [{"digest": one, "kind": kind, "at": at, "receipt": receipt} for one in part if one not in known]
        if new:
            connection.execute(insert(tombstones), new)


def all_tombstones(connection: Connection) -> list[Tombstone]:
    """Return every tombstone of the ledger, oldest first."""
    chosen = select(tombstones).order_by(tombstones.c.at, tombstones.c.digest)
    return [Tombstone(**row) for row in connection.execute(chosen).mappings()]


def newest(stones: Iterable[Tombstone]) -> dict[str, Tombstone]:
    """Return the newest tombstone of each digest."""
    found: dict[str, Tombstone] = {}
    for stone in stones:
        known = found.get(stone.digest)
        if known is None or known.at < stone.at:
            found[stone.digest] = stone
    return found
