"""A home that knows many songs: ledger, Dagster's partitions and runs, and the store's folders, filled by bulk.

Rows are what the product writes for songs that went through without trouble: job, history, six stage timings, a run
with its tags, a partition. Only the files' content is missing. What is measured on it belongs to `scale`.
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from dagster._serdes import serialize_value

from ironclad_assets.contracts.v1.job import STAGES
from ironclad_assets.ledger.tables import history, jobs, songs, stage_timings
from ironclad_assets.partitions import PIPELINE_VERSION
from ironclad_assets.partitions import songs as partitions
from ironclad_assets.settings import Settings, name_driver
from ironclad_assets.storage.store import Store

BATCH = 1000
USERS = 10
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Known:
    """One song that is known: `completed`, or still queued."""

    number: int
    completed: bool

    @property
    def song(self) -> str:
        return f"20260101-{self.number:08d}"

    @property
    def user_id(self) -> str:
        return f"user{self.number % USERS}"

    @property
    def job_uuid(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, self.song))

    @property
    def run_id(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, self.song))

    def at(self, *, seconds: float = 0.0) -> str:
        return (BEGAN + timedelta(seconds=10 * self.number + seconds)).isoformat(timespec="microseconds")


def plan_songs(count: int, *, queued: int) -> list[Known]:
    """Return `count` songs, the last `queued` of them waiting."""
    return [Known(number, completed=number < count - queued) for number in range(count)]


def fill_ledger(url: str, known: Sequence[Known]) -> None:
    """Write songs, jobs, history and timings into a migrated ledger."""
    engine = sa.create_engine(name_driver(url))
    for some in _batches(known):
        with engine.begin() as connection:
            connection.execute(sa.insert(songs), [_song_row(one) for one in some])
            connection.execute(sa.insert(jobs), [_job_row(one) for one in some])
            connection.execute(sa.insert(history), [line for one in some for line in _history_rows(one)])
            timings = [row for one in some if one.completed for row in _timing_rows(one)]
            if timings:
                connection.execute(sa.insert(stage_timings), timings)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))
    engine.dispose()


def fill_dagster(instance: dg.DagsterInstance, known: Sequence[Known]) -> None:
    """Write a partition for each song, and a successful run with its tags for each that is complete."""
    for some in _batches(known):
        instance.add_dynamic_partitions(str(partitions.name), [one.song for one in some])
        done = [one for one in some if one.completed]
        if not done:
            continue
        with instance.run_storage.connect() as connection:  # type: ignore[attr-defined] # SQL storages have it
            connection.execute(sa.insert(RunsTable), [_run_row(one) for one in done])
            connection.execute(sa.insert(RunTagsTable), [tag for one in done for tag in _tag_rows(one)])


def fill_store(settings: Settings, known: Sequence[Known]) -> None:
    """Make the folder of each complete song's last stage."""
    store = Store(settings.store_root, settings.disk_reserve_bytes)
    for one in known:
        if one.completed:
            (store.root / "stages" / STAGES[-1] / one.song).mkdir(parents=True)


def _batches(known: Sequence[Known]) -> Iterator[Sequence[Known]]:
    for start in range(0, len(known), BATCH):
        yield known[start : start + BATCH]


def _song_row(one: Known) -> dict[str, object]:
    return {
        "song": one.song, "user_id": one.user_id, "sha256": f"{one.number:064x}",
        "original_name": f"Song {one.number}.flac", "size_bytes": 30_000_000, "archive_path": f"archive/{one.number}",
        "uploaded_at": one.at(), "door": "folder", "duration_s": 200.0 if one.completed else None, "expected_s": 200.0,
    }  # fmt: skip


def _job_row(one: Known) -> dict[str, object]:
    done = one.completed
    return {
        "job_uuid": one.job_uuid, "song": one.song, "user_id": one.user_id, "trace_id": uuid.uuid4().hex,
        "attempt": 1, "state": "completed" if done else "queued", "options": {}, "fraction": 1.0 if done else 0.0,
        "run_id": one.run_id if done else None, "stage": STAGES[-1] if done else None,
        "created_at": one.at(), "updated_at": one.at(seconds=9.0 if done else 0.0),
        "dispatched_at": one.at(seconds=1.0) if done else None, "started_at": one.at(seconds=2.0) if done else None,
    }  # fmt: skip


def _history_rows(one: Known) -> Iterator[dict[str, object]]:
    steps = [(None, "queued", 0.0), ("queued", "running", 2.0), ("running", "completed", 9.0)]
    for before, after, seconds in steps if one.completed else steps[:1]:
        yield {
            "job_uuid": one.job_uuid, "at": one.at(seconds=seconds), "monotonic_ns": one.number, "actor": "watcher",
            "from_state": before, "to_state": after, "detail": "",
        }  # fmt: skip


def _timing_rows(one: Known) -> Iterator[dict[str, object]]:
    for number, stage in enumerate(STAGES):
        yield {
            "job_uuid": one.job_uuid, "stage": stage, "started_at": one.at(seconds=2.0 + number),
            "ended_at": one.at(seconds=3.0 + number), "seconds": 1.0, "reused": False,
        }  # fmt: skip


def _tags(one: Known) -> dict[str, str]:
    return {
        "dagster/partition": one.song, "dagster/run_key": f"{one.song}:{PIPELINE_VERSION}:1",
        "dagster/sensor_name": "upload_watcher", "ironclad/user": one.user_id, "ironclad/job_uuid": one.job_uuid,
        "ironclad/engine": "default", "dagster/priority": "0",
    }  # fmt: skip


def _run_row(one: Known) -> dict[str, object]:
    run = dg.DagsterRun(job_name="process_song", run_id=one.run_id, tags=_tags(one), status=dg.DagsterRunStatus.SUCCESS)
    at = BEGAN.replace(tzinfo=None) + timedelta(seconds=10 * one.number)
    return {
        "run_id": one.run_id, "pipeline_name": "process_song", "status": "SUCCESS", "run_body": serialize_value(run),
        "partition": one.song, "create_timestamp": at, "update_timestamp": at + timedelta(seconds=9),
    }  # fmt: skip


def _tag_rows(one: Known) -> Iterator[dict[str, object]]:
    for key, value in _tags(one).items():
        yield {"run_id": one.run_id, "key": key, "value": value}
