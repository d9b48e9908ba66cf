"""Letting go of Dagster's runs that ended long ago, with their events, logs and, on SQLite, their databases.

Dagster keeps everything for ever. The last good run of each song stays, so that the song counts as materialized; the
ledger and the manifests need none of it.
"""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
from dagster._core.storage.tags import PARTITION_NAME_TAG
from sqlalchemy.exc import DatabaseError

PAGE = 200

_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def drop_old_runs(instance: dg.DagsterInstance, *, home: Path, before: datetime, pretend: bool = False) -> int:
    """Delete runs that ended `before`, but for the last good one of each song and job; return how many.

    Args:
        instance: whose runs.
        home: DAGSTER_HOME, which has a database and a folder for each run.
        before: aware; what ended later stays.
        pretend: only count.
    """
    dropped = 0
    for run_id in _old_runs(instance, before=before.astimezone(UTC)):
        dropped += 1
        if not pretend:
            _drop(instance, run_id, home=home)
    return dropped


def _old_runs(instance: dg.DagsterInstance, *, before: datetime) -> Iterator[str]:
    """Yield the ids of runs that may go, each page after the next one is read: a page begins where another ended."""
    wanted = dg.RunsFilter(statuses=_ENDED, updated_before=before)
    ready: list[str] = []
    cursor: str | None = None
    while records := instance.get_run_records(wanted, limit=PAGE, cursor=cursor):
        yield from ready
        cursor = records[-1].dagster_run.run_id
        ready = [one.dagster_run.run_id for one in records if not _is_last_good(instance, one.dagster_run)]
    yield from ready


def _is_last_good(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Return whether the run is the newest good one of its song and job."""
    song = run.tags.get(PARTITION_NAME_TAG)
    if song is None or run.status is not dg.DagsterRunStatus.SUCCESS:
        return False
    good = dg.RunsFilter(job_name=run.job_name, tags={PARTITION_NAME_TAG: song}, statuses=[dg.DagsterRunStatus.SUCCESS])
    return any(newest.run_id == run.run_id for newest in instance.get_runs(good, limit=1))


def _drop(instance: dg.DagsterInstance, run_id: str, *, home: Path) -> None:
    """Delete one run; files that a kill leaves are never read again, nor is a run's own database that is damaged."""
    try:
        instance.delete_run(run_id)
    except DatabaseError:
        if instance.get_run_by_id(run_id) is not None:
            raise
    for path in (home / "history" / "runs").glob(f"{run_id}.db*"):
        with suppress(FileNotFoundError):
            path.unlink()
    shutil.rmtree(home / "storage" / run_id, ignore_errors=True)
