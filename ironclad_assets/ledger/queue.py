"""The queue: which jobs come next, why others wait, where a job stands in it, and whether anybody works at it.

Order and conditions are those of `turns`; here they meet the users' limits and become answers for the dispatcher
and for people. Nothing is dispatched here.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, islice
from math import inf

from sqlalchemy import Connection, Select, func, select, update
from sqlalchemy.sql.elements import ColumnElement

from ironclad_assets.contracts.v1.job import Job, JobState
from ironclad_assets.errors import ErrorCode, failure
from ironclad_assets.ledger.database import Database
from ironclad_assets.ledger.limits import limits_of_users, system_limits
from ironclad_assets.ledger.pauses import not_paused
from ironclad_assets.ledger.progress import seconds_between
from ironclad_assets.ledger.reads import require_job, select_jobs
from ironclad_assets.ledger.rows import MOST_NAMED, in_parts, job_query, utc_now, write_history
from ironclad_assets.ledger.rules import Rules
from ironclad_assets.ledger.tables import history, jobs, songs
from ironclad_assets.ledger.turns import (
    DISPATCHED,
    RUNNING,
    WAITING,
    count_in_hand,
    in_turn,
    is_due,
    may_go,
    seconds_of_audio,
)

LOWEST_PRIORITY = -100
HIGHEST_PRIORITY = 100

LOST = "the run that was asked for was never made; it is asked for again"
"""What the history says, once, of a job that waits for a run which Dagster did not make."""


class Wait(StrEnum):
    """Why a job waits."""

    DISPATCHED = "dispatched"
    TURN = "turn"
    LIMIT = "limit"
    LATER = "later"
    PAUSED = "paused"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Place:
    """One waiting job: its position from 1, the seconds of audio of its song, and why it waits."""

    position: int
    job: Job
    seconds: float
    wait: Wait


@dataclass(frozen=True, slots=True)
class _Waiting:
    job_uuid: str
    user_id: str
    seconds: float
    wait: Wait


class Queue:
    """The queue of one ledger."""

    def __init__(self, database: Database, *, rules: Rules) -> None:
        self._database = database
        self._rules = rules

    def next_jobs(self, *, limit: int) -> list[Job]:
        """Return the jobs that deserve a run now, in order, none beyond what may be in hand at once."""
        with self._database.read() as connection:
            turns = (one for one in _in_turn(connection, rules=self._rules) if one.wait is Wait.TURN)
            chosen = list(islice(turns, limit))
            return _jobs_of(connection, chosen)

    def count_dispatched(self) -> int:
        """Return how many queued jobs a run was asked for that has not begun them."""
        with self._database.read() as connection:
            return int(connection.execute(select(func.count()).where(DISPATCHED)).scalar_one())

    def unattended_s(self) -> float:
        """Return for how many seconds of wall time runs were asked for and nobody began one; 0 while any job runs.

        They count from the first such request that still stands, and from the last time any job began or ended.
        """
        asked = select(func.min(jobs.c.dispatched_at)).where(DISPATCHED)
        with self._database.read() as connection:
            if connection.execute(select(jobs.c.job_uuid).where(RUNNING).limit(1)).first() is not None:
                return 0.0
            times = [connection.execute(asked).scalar()]
            if times[0] is None:
                return 0.0
            moved = connection.execute(_last_moved()).scalar() or ""
            times.append(connection.execute(_first_lost(since=moved)).scalar())
        first = min(time for time in times if time is not None)
        return max(seconds_between(max(first, moved), utc_now()), 0.0)

    def places(self, *, limit: int, user_id: str | None = None) -> list[Place]:
        """Return the waiting jobs in the order in which they will run; what nothing lets run comes last.

        Positions count the jobs of all users, also where only those of `user_id` are returned.
        """
        with self._database.read() as connection:
            everything = enumerate(_everything(connection, rules=self._rules), start=1)
            wanted = list(islice((pair for pair in everything if user_id in (None, pair[1].user_id)), limit))
            found = _jobs_of(connection, [one for _, one in wanted])
        return [
            Place(position=at, job=job, seconds=one.seconds, wait=one.wait)
            for (at, one), job in zip(wanted, found, strict=True)
        ]

    def set_priority(self, job_uuid: str, priority: int, *, actor: str) -> Job:
        """Change the priority of a job that waits, and so that of later jobs of its song.

        Raises:
            PermanentFailure: `BAD_OPTION`: it is outside -100..100; `ILLEGAL_TRANSITION`: the job does not wait.
        """
        check_priority(priority)
        with self._database.write() as connection:
            job = require_job(connection, job_uuid, lock=True)
            if job.state not in (JobState.QUEUED, JobState.HELD):
                raise failure(ErrorCode.ILLEGAL_TRANSITION, f"job {job_uuid} is {job.state} and does not wait")
            connection.execute(update(jobs).where(jobs.c.job_uuid == job_uuid).values(priority=priority))
            detail = f"priority {job.priority} became {priority}"
            write_history(connection, job_uuid, actor=actor, before=job.state, after=job.state, detail=detail)
            return require_job(connection, job_uuid)


def check_priority(priority: int) -> None:
    """Refuse a priority outside -100..100.

    Raises:
        PermanentFailure: with `BAD_OPTION`.
    """
    if not LOWEST_PRIORITY <= priority <= HIGHEST_PRIORITY:
        raise failure(ErrorCode.BAD_OPTION, f"priority {priority} is not within {LOWEST_PRIORITY}..{HIGHEST_PRIORITY}")


def note_lost(connection: Connection, job: Job) -> None:
    """Write into the history of a queued job that its run was never made, unless that is its last line."""
    last = select(history.c.detail).where(history.c.job_uuid == job.job_uuid).order_by(history.c.sequence.desc())
    if connection.execute(last.limit(1)).scalar() != LOST:
        write_history(connection, job.job_uuid, actor="reconciler", before=job.state, after=job.state, detail=LOST)


def _everything(connection: Connection, *, rules: Rules) -> Iterator[_Waiting]:
    """Yield every waiting job once; a later group is looked for only when the earlier ones are used up."""
    yield from _listed(
        connection,
        DISPATCHED,
        order=(jobs.c.priority.desc(), jobs.c.dispatched_at, jobs.c.sequence),
        wait=Wait.DISPATCHED,
    )
    beyond: list[_Waiting] = []
    for one in _in_turn(connection, rules=rules):
        if one.wait is Wait.TURN:
            yield one
        else:
            beyond.append(one)
    held = jobs.c.state == JobState.HELD.value
    yield from chain(
        beyond,
        _listed(connection, WAITING & ~is_due() & not_paused(), order=(jobs.c.not_before,), wait=Wait.LATER),
        (_Waiting(row[1], row[2], row[4], Wait.PAUSED) for row in connection.execute(in_turn(WAITING & ~not_paused()))),
        _listed(connection, held, order=(jobs.c.priority.desc(), jobs.c.sequence), wait=Wait.HELD),
    )


def _in_turn(connection: Connection, *, rules: Rules) -> Iterator[_Waiting]:
    """Yield the jobs that only their turn keeps from a run, in order; those beyond their user's limit say so."""
    in_hand: Counter[str] = Counter()
    room = 0.0
    most: dict[str, float] = {}
    for part in connection.execute(in_turn(may_go())).partitions(MOST_NAMED):
        if not most:
            in_hand.update({row[0]: row[1] for row in connection.execute(count_in_hand())})
            room = _limit(system_limits(connection).concurrent_jobs) - in_hand.total()
        new = list({user_id for _, _, user_id, _, _ in part} - most.keys())
        for user_id, limits in limits_of_users(connection, new, rules=rules).items():
            most[user_id] = _limit(limits.concurrent_jobs)
        for _, job_uuid, user_id, _, seconds in part:
            fits = in_hand[user_id] < most[user_id] and room > 0
            if fits:
                in_hand[user_id] += 1
                room -= 1
            yield _Waiting(job_uuid, user_id, seconds, Wait.TURN if fits else Wait.LIMIT)


def _last_moved() -> Select[str]:
    """Return the query of when a job last began or ended its work."""
    running = JobState.RUNNING.value
    told = (history.c.from_state == running) | (history.c.to_state == running)
    return select(history.c.at).where(told).order_by(history.c.sequence.desc()).limit(1)


def _first_lost(*, since: str) -> Select[str | None]:
    """Return the query of when, after `since`, a run was first asked for in vain for a job that still waits for one."""
    of_waiting = history.join(jobs, jobs.c.job_uuid == history.c.job_uuid)
    return (
        select(func.min(history.c.at))
        .select_from(of_waiting)
        .where(DISPATCHED, history.c.detail == LOST, history.c.at > since)
    )


def _limit(most: int | None) -> float:
    return inf if most is None else most


def _listed(
    connection: Connection, which: ColumnElement[bool], *, order: Sequence[ColumnElement[object]], wait: Wait
) -> Iterator[_Waiting]:
    """Yield the jobs that `which` chooses, in `order`."""
    chosen = (
        select(jobs.c.job_uuid, jobs.c.user_id, seconds_of_audio)
        .join(songs, songs.c.song == jobs.c.song)
        .where(which)
        .order_by(*order)
    )
    for job_uuid, user_id, seconds in connection.execute(chosen):
        yield _Waiting(job_uuid, user_id, seconds, wait)


def _jobs_of(connection: Connection, chosen: Sequence[_Waiting]) -> list[Job]:
    """Return the jobs of `chosen` in the same order."""
    ids = [one.job_uuid for one in chosen]
    found: dict[str, Job] = {}
    for part in in_parts(ids):
        some = select_jobs(connection, job_query.where(jobs.c.job_uuid.in_(part)))
        found |= {job.job_uuid: job for job in some}
    return [found[job_uuid] for job_uuid in ids]
