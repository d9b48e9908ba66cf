"""Forgetting: which rows tell of a song or a user, and removing them when everything else is gone.

Rows that are about others too, lines of the audit, stay and name the receipt instead. Foreign keys decide the order:
what points at a job goes before it, what points at the song before that.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, Table, delete, func, or_, select, update
from sqlalchemy.sql.elements import ColumnElement

from ironclad_assets.ledger.tables import (
    audit,
    deletions,
    history,
    jobs,
    pauses,
    songs,
    stage_timings,
    stored_artifacts,
)
from ironclad_assets.ledger.tombstones import has_tombstone

_WORD = r"[A-Za-z0-9_-]"


@dataclass(frozen=True, slots=True)
class Traces:
    """Everything by which a song may be named outside the ledger.

    Attributes:
        song: its id, the key of its partition.
        user_id: whose it is.
        original_name: as its uploader called it.
        sha256: of the original; empty where the file was refused before it was read.
        archive_path: of the original, below the store.
        job_uuids: of every attempt.
        run_ids: Dagster's, as far as the ledger knows them.
        trace_ids: of every job.
        busy: a job of it is still running.
        changed_at: when the song came, or a job of it that had a run last changed.
        dispatched_at: when a run was last asked for a job that no run began, or nothing.
    """

    song: str
    user_id: str
    original_name: str
    sha256: str
    archive_path: str
    job_uuids: tuple[str, ...]
    run_ids: tuple[str, ...]
    trace_ids: tuple[str, ...]
    busy: bool
    changed_at: str
    dispatched_at: str | None

    @property
    def ids(self) -> tuple[str, ...]:
        """What only this song can be meant by: ids and the hash."""
        found = (self.song, *self.job_uuids, *self.run_ids, *self.trace_ids, self.sha256)
        return tuple(dict.fromkeys(one for one in found if one))


def read_traces(connection: Connection, song: str) -> Traces:
    """Return what tells of the song; run ids of earlier attempts are taken from the history."""
    row = connection.execute(select(songs).where(songs.c.song == song)).mappings().one()
    chosen = (jobs.c.job_uuid, jobs.c.run_id, jobs.c.trace_id, jobs.c.state, jobs.c.dispatched_at, jobs.c.updated_at)
    mine = connection.execute(select(*chosen).where(jobs.c.song == song).order_by(jobs.c.attempt)).all()
    uuids = tuple(job.job_uuid for job in mine)
    said = select(history.c.actor, history.c.detail).where(history.c.job_uuid.in_(uuids))
    earlier = {run for line in connection.execute(said) for run in _run_ids(f"{line.actor} {line.detail}")}
    waiting = [job.dispatched_at for job in mine if job.dispatched_at is not None and job.run_id is None]
    return Traces(
        song=row["song"],
        user_id=row["user_id"],
        original_name=row["original_name"],
        sha256=row["sha256"] or _hash_in(row["archive_path"]),
        archive_path=row["archive_path"],
        job_uuids=uuids,
        run_ids=tuple(sorted(earlier | {job.run_id for job in mine if job.run_id is not None})),
        trace_ids=tuple(job.trace_id for job in mine),
        busy=any(job.state == "running" for job in mine),
        changed_at=max((row["uploaded_at"], *(job.updated_at for job in mine if job.run_id is not None))),
        dispatched_at=max(waiting, default=None),
    )


def is_original_wanted(connection: Connection, archive_path: str) -> bool:
    """Return whether a song that stays has its original there."""
    chosen = select(songs.c.song).where(songs.c.archive_path == archive_path)
    return any(not has_tombstone(connection, "song", song) for song in connection.execute(chosen).scalars().all())


def forget_song(connection: Connection, song: str, *, receipt: str) -> dict[str, int]:
    """Remove every row about the song; return how many rows of each table."""
    if connection.execute(select(songs.c.song).where(songs.c.song == song).with_for_update()).first() is None:
        return {}
    traces = read_traces(connection, song)
    mine = select(jobs.c.job_uuid).where(jobs.c.song == song)
    gone = {
        "history": _delete(connection, history, history.c.job_uuid.in_(mine)),
        "stage_timings": _delete(connection, stage_timings, stage_timings.c.job_uuid.in_(mine)),
        "stored_artifacts": _delete(connection, stored_artifacts, stored_artifacts.c.song == song),
        "jobs": _delete(connection, jobs, jobs.c.song == song),
        "songs": _delete(connection, songs, songs.c.song == song),
    }
    for name in (*traces.ids, traces.original_name):
        _rename_in_audit(connection, name, receipt=receipt)
    return gone


def forget_user(connection: Connection, user_id: str, *, before: str, receipt: str) -> dict[str, int]:
    """Let what others are told of the time `before` name the receipt where it named the user as who did something."""
    asked = connection.execute(select(func.max(audit.c.sequence)).where(audit.c.object == receipt)).scalar()
    renamed = _rename_in_audit(connection, user_id, receipt=receipt, until=asked)
    for table, key in ((history, history.c.sequence), (deletions, deletions.c.receipt), (pauses, pauses.c.since)):
        actor = table.c.actor
        chosen = select(key.label("key"), actor).where(actor.contains(user_id, autoescape=True))
        for row in connection.execute(chosen.where(_time_of(table) <= before)).all():
            said = _renamed(row.actor, user_id, receipt=receipt)
            connection.execute(update(table).where(key == row.key, actor == row.actor).values(actor=said))
    return {"audit": renamed}


def _time_of(table: Table) -> ColumnElement[str]:
    return next(table.c[name] for name in ("at", "requested_at", "since") if name in table.c)


def _rename_in_audit(connection: Connection, name: str, *, receipt: str, until: int | None = None) -> int:
    """Put the receipt in the place of `name` in every line that has it as a word of its own; return how many."""
    columns = (audit.c.actor, audit.c.object, audit.c.detail)
    chosen = select(audit.c.sequence, *columns).where(
        or_(*(column.contains(name, autoescape=True) for column in columns))
    )
    if until is not None:  # by their order, not their times: a clock that jumped hides nothing
        chosen = chosen.where(audit.c.sequence <= until)
    changed = 0
    for row in connection.execute(chosen).mappings().all():
        said = {column.name: _renamed(row[column.name], name, receipt=receipt) for column in columns}
        if any(said[key] != row[key] for key in said):
            connection.execute(update(audit).where(audit.c.sequence == row["sequence"]).values(said))
            changed += 1
    return changed


def _renamed(said: str, name: str, *, receipt: str) -> str:
    return re.sub(rf"(?<!{_WORD}){re.escape(name)}(?!{_WORD})", receipt, said)


def _delete(connection: Connection, table: Table, chosen: ColumnElement[bool]) -> int:
    return int(connection.execute(delete(table).where(chosen)).rowcount)


def _run_ids(said: str) -> Iterator[str]:
    """Yield what looks like the id of a run."""
    yield from re.findall(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", said)


def _hash_in(archive_path: str) -> str:
    name = archive_path.rpartition("/")[2]
    return name if re.fullmatch(r"[0-9a-f]{64}", name) else ""
