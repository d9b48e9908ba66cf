"""Condemning: what a request to delete changes in the ledger at once, in the transaction of the request.

A condemned song keeps its rows until everything else of it is gone, but nothing new begins with it: its jobs are
canceled, its tombstone stands, and the same bytes make a new song.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, delete, func, select, text, update
from sqlalchemy.sql.elements import ColumnElement

from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.ledger.changes import change_states
from ironclad_assets.ledger.reads import active_jobs
from ironclad_assets.ledger.rows import in_parts
from ironclad_assets.ledger.tables import jobs, limits, pauses, songs, terms_acceptances, user_defaults, users
from ironclad_assets.ledger.tombstones import (
    Tombstone,
    add_tombstone,
    add_tombstones,
    after_earlier,
    digest_of,
    without_tombstone,
)
from ironclad_assets.ledger.usage import forget_all_stored
from ironclad_assets.ledger.users import take_user_turn

_LOCK = 0x44454C45  # any constant: names the advisory lock on Postgres


def lock_writers(connection: Connection) -> None:
    """Let one request at a time look and write; a writer of SQLite is alone anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


def condemn_songs(connection: Connection, chosen: Sequence[str], *, at: str, receipt: str, actor: str) -> None:
    """Cancel what the songs' jobs do, set their tombstones, and let their bytes make new songs from now on.

    What they occupy leaves their users' accounts now: a user who comes back begins with none. It takes a few statements
    for a thousand songs, since on SQLite everybody else's writing waits meanwhile.
    """
    for part in in_parts(sorted(chosen)):
        _lock_songs(connection, songs.c.song.in_(part))  # all of them, as everybody does, before a user's turn is taken
    for part in in_parts(sorted(chosen)):
        forget_all_stored(connection, part)
        _stop_jobs(connection, part, actor=actor)
        job_uuids = connection.execute(select(jobs.c.job_uuid).where(jobs.c.song.in_(part))).scalars().all()
        add_tombstones(connection, "song", part, at=at, receipt=receipt)
        add_tombstones(connection, "job", job_uuids, at=at, receipt=receipt)
        # Without its hash no upload is taken for a duplicate of it; where its original lies still tells the hash.
        hashed = songs.c.song.in_(part) & songs.c.sha256.is_not(None)
        connection.execute(update(songs).where(hashed).values(sha256=None))


def _lock_songs(connection: Connection, these: ColumnElement[bool]) -> set[str]:
    """Keep other writers off songs where the database locks rows; return which."""
    chosen = select(songs.c.song).where(these).order_by(songs.c.song).with_for_update()
    return set(connection.execute(chosen).scalars())


def _stop_jobs(connection: Connection, chosen: Sequence[str], *, actor: str) -> None:
    """Cancel the waiting jobs of the songs, and ask the running ones to stop."""
    active = active_jobs(connection, chosen)
    running = [job for job in active if job.state is JobState.RUNNING]
    asked = [job for job in running if not job.cancel_requested]
    waiting = [job for job in active if job.state is not JobState.RUNNING]
    for those, to in ((asked, JobState.RUNNING), (waiting, JobState.CANCELED)):
        values = {"cancel_requested": True}
        change_states(connection, those, to=to, actor=actor, values=values, detail="the song is being deleted")


def condemn_user(connection: Connection, user_id: str, *, at: str, receipt: str, actor: str) -> None:
    """Condemn every song of the user, and forget what the user may, wants and accepted."""
    while not _lock_user(connection, user_id):
        pass
    stone = Tombstone(digest_of("user", user_id), "user", at, receipt)
    add_tombstone(connection, after_earlier(connection, stone))
    mine = select(songs.c.song).where(songs.c.user_id == user_id).order_by(songs.c.song)
    condemn_songs(connection, connection.execute(mine).scalars().all(), at=at, receipt=receipt, actor=actor)
    for table in (users, user_defaults, terms_acceptances):
        connection.execute(delete(table).where(table.c.user_id == user_id))
    connection.execute(delete(limits).where((limits.c.scope == "user") & (limits.c.subject == user_id)))
    connection.execute(delete(pauses).where((pauses.c.kind == "user") & (pauses.c.subject == user_id)))


def _lock_user(connection: Connection, user_id: str) -> bool:
    """Lock the user's songs, then take the user's turn; let all go again where a song came in between.

    That one would be locked after the turn was taken, the other way round than everybody else does.
    """
    mine = songs.c.user_id == user_id
    with connection.begin_nested() as attempt:
        locked = _lock_songs(connection, mine)
        take_user_turn(connection, user_id)
        complete = set(connection.execute(select(songs.c.song).where(mine)).scalars()) <= locked
        if not complete:
            attempt.rollback()
    return complete


def songs_to_delete(connection: Connection, kind: str, subject: str) -> list[str]:
    """Return the songs that a deletion still has to deal with.

    Of a user's songs, those count that were condemned with the request: what was registered later is a new user's,
    whatever the clocks made of its time.

    Args:
        connection: of the ledger.
        kind: ``song`` or ``user``.
        subject: the song, or the user.
    """
    if kind == "song":
        found = connection.execute(select(songs.c.song).where(songs.c.song == subject)).scalars()
        return list(found)
    mine = select(songs.c.song).where(songs.c.user_id == subject).order_by(songs.c.song)
    known = list(connection.execute(mine).scalars())
    others = set(without_tombstone(connection, "song", known))
    return [song for song in known if song not in others]


def find_users(connection: Connection) -> dict[str, str]:
    """Return every user that the ledger knows anything of, with the time of the oldest thing it knows."""
    since: dict[str, str] = {}
    sources = (
        select(users.c.user_id, func.min(users.c.created_at)).group_by(users.c.user_id),
        select(user_defaults.c.user_id, func.min(user_defaults.c.updated_at)).group_by(user_defaults.c.user_id),
        select(terms_acceptances.c.user_id, func.min(terms_acceptances.c.at)).group_by(terms_acceptances.c.user_id),
        select(songs.c.user_id, func.min(songs.c.uploaded_at)).group_by(songs.c.user_id),
        select(limits.c.subject, func.min(limits.c.updated_at))
        .where(limits.c.scope == "user")
        .group_by(limits.c.subject),
    )
    for source in sources:
        for user_id, at in connection.execute(source).all():
            since[user_id] = min(at, since.get(user_id, at))
    return since
