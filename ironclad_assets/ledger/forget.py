"""Forgetting: which rows tell of a song or a user, and removing them when everything else is gone.

Rows that are about others too, lines of the audit, stay and name the receipt instead. Foreign keys decide the order:
what points at a job goes before it, what points at the song before that.
"""

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from sqlalchemy import Connection, Table, delete, func, select, update
from sqlalchemy.sql.elements import ColumnElement

from ironclad_assets.ledger.shares import remember_shares
from ironclad_assets.ledger.tables import (
    audit,
    deletions,
    forgotten_songs,
    history,
    jobs,
    pauses,
    songs,
    stage_timings,
    stored_artifacts,
)
from ironclad_assets.ledger.tombstones import has_tombstone
from ironclad_assets.ledger.usage import forget_all_stored

_WORD = r"[A-Za-z0-9_-]"

_ENDING = re.compile(r"\.(aac|aiff?|flac|m4[ab]|mka|mp[34]|og[ag]|opus|wave?|webm|wma|wv)$", re.IGNORECASE)


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


def is_telling(name: str) -> bool:
    """Return whether a name from outside is a song's wherever it stands: a path, or with the ending of audio files.

    Any other, such as ``status`` or ``index.db``, may be a word of somebody else, and of the programs themselves:
    whoever uploads chooses it, and must not choose with it what of others is erased. It counts only in quotes.
    """
    return "/" in name or _ENDING.search(name) is not None


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


def forget_songs(connection: Connection, chosen: Sequence[str], *, receipt: str) -> int:
    """Remove every row about the songs, and name the receipt where the audit names one; return how many rows went."""
    held = select(songs.c.song).where(songs.c.song.in_(chosen)).order_by(songs.c.song).with_for_update()
    known = connection.execute(held).scalars().all()
    names = {name for song in known for name in _names_of(read_traces(connection, song))}
    _rename_in_audit(connection, names, receipt=receipt)
    mine = select(jobs.c.job_uuid).where(jobs.c.song.in_(known))
    stored = select(func.count()).select_from(stored_artifacts).where(stored_artifacts.c.song.in_(known))
    counted = int(connection.execute(stored).scalar_one())
    remember_shares(connection, known)
    forget_all_stored(connection, known)
    return counted + sum(
        (
            _delete(connection, history, history.c.job_uuid.in_(mine)),
            _delete(connection, stage_timings, stage_timings.c.job_uuid.in_(mine)),
            _delete(connection, jobs, jobs.c.song.in_(known)),
            _delete(connection, songs, songs.c.song.in_(known)),
        )
    )


def forget_user(connection: Connection, user_id: str, *, before: str, receipt: str) -> None:
    """Let what others are told of the time `before` name the receipt where it named the user as who did something."""
    mine = (forgotten_songs.c.user_id == user_id) & (forgotten_songs.c.uploaded_at <= before)
    _delete(connection, forgotten_songs, mine)
    asked = connection.execute(select(func.max(audit.c.sequence)).where(audit.c.object == receipt)).scalar()
    _rename_in_audit(connection, {user_id}, receipt=receipt, until=asked)
    for table, key in ((history, history.c.sequence), (deletions, deletions.c.receipt), (pauses, pauses.c.since)):
        actor = table.c.actor
        chosen = select(key.label("key"), actor).where(actor.contains(user_id, autoescape=True))
        for row in connection.execute(chosen.where(_time_of(table) <= before)).all():
            said = _renamed(row.actor, user_id, receipt=receipt)
            connection.execute(update(table).where(key == row.key, actor == row.actor).values(actor=said))


def _time_of(table: Table) -> ColumnElement[str]:
    return next(table.c[name] for name in ("at", "requested_at", "since") if name in table.c)


def _names_of(traces: Traces) -> tuple[str, ...]:
    return (*traces.ids, traces.original_name) if is_telling(traces.original_name) else traces.ids


def _rename_in_audit(connection: Connection, names: Set[str], *, receipt: str, until: int | None = None) -> None:
    """Put the receipt in the place of each name in every line that has it as a word of its own.

    `until`: the last line that is looked at. By their order, not their times: a clock that jumped hides nothing.
    """
    columns = (audit.c.actor, audit.c.object, audit.c.detail)
    chosen = select(audit.c.sequence, *columns).order_by(audit.c.sequence)
    if until is not None:
        chosen = chosen.where(audit.c.sequence <= until)
    for row in connection.execute(chosen).mappings().all():
        line = " ".join(row[column.name] for column in columns)
        present = [name for name in names if name in line]
        if not present:
            continue
        said = {column.name: row[column.name] for column in columns}
        for name in sorted(present, key=len, reverse=True):
            said = {key: _renamed(text, name, receipt=receipt) for key, text in said.items()}
        connection.execute(update(audit).where(audit.c.sequence == row["sequence"]).values(said))


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
