"""Rows into contracts and back, and the small values that rows are made of."""

import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection, RowMapping, insert, select

from ironclad_assets.contracts.v1.job import HistoryEntry, Job, JobError, JobState, SongIdentity, StageTiming
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.ledger.progress import estimate_rest_s
from ironclad_assets.ledger.tables import history, jobs, songs, stage_timings
from ironclad_assets.ledger.worker import WorkerIdentity
from ironclad_assets.telemetry.request import current_request

T = TypeVar("T")

Values = dict[str, Any]  # columns of one row, of any type

NO_WORKER: Values = {
    "worker_host": None, "worker_boot_id": None, "worker_pid": None, "worker_started_ticks": None,
}  # fmt: skip
NO_ERROR: Values = {"error_code": None, "error_detail": None, "error_remedy": None, "error_stage": None}

MOST_NAMED = 1000
"""Rows that one statement names: databases bound the number of parameters."""

_JOB_COLUMNS = (*jobs.c, songs.c.original_name)
job_query = select(*_JOB_COLUMNS).join(songs, songs.c.song == jobs.c.song)
"""Every job with the name of its song."""


def utc_now() -> str:
    """Return the time as UTC in ISO 8601 with microseconds."""
    return utc_time(seconds_ago=0.0)


def utc_time(*, seconds_ago: float) -> str:
    """Return the time `seconds_ago` as UTC in ISO 8601 with microseconds."""
    return (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat(timespec="microseconds")


def worker_values(worker: WorkerIdentity) -> Values:
    """Return the columns that name `worker`."""
    return {
        "worker_host": worker.host,
        "worker_boot_id": worker.boot_id,
        "worker_pid": worker.pid,
        "worker_started_ticks": worker.started_ticks,
    }


def error_values(error: JobError | None) -> Values:
    """Return the columns that hold `error`, or none."""
    if error is None:
        return NO_ERROR
    return {
        "error_code": error.code, "error_detail": error.detail,
        "error_remedy": error.remedy, "error_stage": error.stage,
    }  # fmt: skip


def worker_of(row: RowMapping) -> WorkerIdentity | None:
    """Return the worker that a job's row is bound to."""
    if row["worker_pid"] is None:
        return None
    return WorkerIdentity(
        host=row["worker_host"],
        boot_id=row["worker_boot_id"],
        pid=row["worker_pid"],
        started_ticks=row["worker_started_ticks"],
    )


def song_of(row: RowMapping) -> SongIdentity:
    """Return the song of a row of `songs`."""
    return SongIdentity(**{**row, "sha256": row["sha256"] or ""})


def song_values(song: SongIdentity) -> Values:
    """Return the row of `song`; a file that was never read has no hash, and such rows do not collide."""
    return {**song.model_dump(), "sha256": song.sha256 or None}


def new_job_values(song: SongIdentity, *, options: JobOptions, attempt: int, state: JobState, priority: int) -> Values:
    """Return the row of a new job."""
    now = utc_now()
    return {
        "job_uuid": str(uuid.uuid4()),
        "song": song.song,
        "user_id": song.user_id,
        "trace_id": uuid.uuid4().hex,
        "attempt": attempt,
        "state": state.value,
        "options": options.named(),  # a default that is not named may still change
        "priority": priority,
        "request_id": current_request(),
        "created_at": now,
        "updated_at": now,
    }


def in_parts(chosen: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield what is `chosen` in parts, each of which one statement may name."""
    for at in range(0, len(chosen), MOST_NAMED):
        yield chosen[at : at + MOST_NAMED]


def read_jobs(connection: Connection, rows: Iterable[RowMapping]) -> list[Job]:
    """Return the jobs of `rows` (of `job_query`), each with the stages it passed."""
    found = list(rows)
    timings: dict[str, list[StageTiming]] = {row["job_uuid"]: [] for row in found}
    for part in in_parts(found):
        ids = [row["job_uuid"] for row in part]
        chosen = select(stage_timings).where(stage_timings.c.job_uuid.in_(ids)).order_by(stage_timings.c.started_at)
        for row in connection.execute(chosen).mappings():
            timings[row["job_uuid"]].append(StageTiming(**{key: row[key] for key in StageTiming.model_fields}))
    return [_job_of(row, stages=timings[row["job_uuid"]]) for row in found]


def _job_of(row: RowMapping, *, stages: Sequence[StageTiming]) -> Job:
    error = None
    if row["error_code"] is not None:
        error = JobError(
            code=row["error_code"], detail=row["error_detail"], remedy=row["error_remedy"], stage=row["error_stage"]
        )
    plain = {key: row[key] for key in Job.model_fields if key in row}
    eta_s = None
    if row["state"] == JobState.RUNNING:
        eta_s = estimate_rest_s(row["started_at"], updated_at=row["updated_at"], fraction=row["fraction"])
    return Job(**{**plain, "error": error, "eta_s": eta_s, "stages": tuple(stages)})


def write_history(
    connection: Connection,
    job_uuid: str,
    *,
    actor: str,
    before: JobState | None,
    after: JobState,
    detail: str = "",
    request_id: str | None = None,
) -> None:
    """Append one line to a job's history; nothing ever changes or removes one.

    Where nobody asks just now, as in a run, the line carries `request_id`, that of whoever asked for the job.
    """
    line = history_line(job_uuid, actor=actor, before=before, after=after, detail=detail, request_id=request_id)
    connection.execute(insert(history).values(line))


def history_line(
    job_uuid: str, *, actor: str, before: JobState | None, after: JobState, detail: str, request_id: str | None
) -> Values:
    """Return the row of one line of a job's history, as of now."""
    return {
        "job_uuid": job_uuid,
        "at": utc_now(),
        "monotonic_ns": time.monotonic_ns(),
        "actor": actor,
        "from_state": before.value if before else None,
        "to_state": after.value,
        "detail": detail,
        "request_id": current_request() or request_id,
    }


def history_of(row: RowMapping) -> HistoryEntry:
    """Return the line of a row of `history`."""
    return HistoryEntry(**{key: row[key] for key in HistoryEntry.model_fields})
