"""Takes songs out of Dagster: runs, events, checks, partitions, notes of sensors, and the files of each run.

Dagster can delete a run; it leaves tags, materializations of the partition, ticks, cursors, cached partitions and
the databases and logs of the run. Where its own functions end, this goes to its tables, on SQLite and Postgres alike.
"""

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    AssetKeyTable,
    ConcurrencySlotsTable,
    DynamicPartitionsTable,
    PendingStepsTable,
    SqlEventLogStorageMetadata,
    SqlEventLogStorageTable,
)
from dagster._core.storage.runs.schema import RunsTable, RunStorageSqlMetadata, RunTagsTable, SnapshotsTable
from dagster._core.storage.schedules.schema import ScheduleStorageSqlMetadata
from dagster._core.storage.tags import PARTITION_NAME_TAG

from ironclad_assets.errors import ErrorCode, failure
from ironclad_assets.ledger.compact import compact_sqlite, vacuum_tables
from ironclad_assets.ledger.forget import Traces
from ironclad_assets.partitions import songs as song_partitions
from ironclad_assets.sensors.reconcile import run_lives
from ironclad_assets.upkeep.erase.names import Names
from ironclad_assets.upkeep.erase.tally import Tally, remove_path
from ironclad_assets.upkeep.erase.text import erase_from_folder

_LARGE = (
    SqlEventLogStorageTable, AssetEventTagsTable, AssetCheckExecutionsTable, DynamicPartitionsTable, AssetKeyTable,
    RunsTable, RunTagsTable, SnapshotsTable,
)  # fmt: skip
"""Tables of which it is known in which column a song is named; all others are read whole."""

LONGEST_ENDING_S = 120.0
"""How long after its end a run's process may still be there."""

_AT_ONCE = 500
_RUN_FOLDER = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MATERIALIZED = "ASSET_MATERIALIZATION"
_WAITING = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.MANAGED)


class DagsterTraces:
    """What one Dagster instance knows of songs. Stands for `upkeep.erase.Elsewhere`.

    `alone`: no process of the instance runs.
    """

    def __init__(self, instance: dg.DagsterInstance, *, home: Path, alone: bool) -> None:
        self._instance = instance
        self._home = home
        self._alone = alone

    def quieten(self, traces: Sequence[Traces]) -> str:
        """Cancel runs that wait, end those that work beside a job, and tell of those whose process still lives."""
        living = 0
        for one in traces:
            for run in self._runs_of(one):
                if run.is_finished:
                    living += self._is_ending(run)
                elif run.status in _WAITING:
                    self._instance.report_run_canceled(run, message="its song is being deleted")
                else:
                    living += not self._ended(run, bound=run.run_id in one.run_ids)
        return f"{living} runs are still stopping" if living else ""

    def ids(self, traces: Sequence[Traces]) -> frozenset[str]:
        """Return the ids of every run of the songs."""
        tags, found = RunTagsTable, set()
        with _sql(self._instance.run_storage).connect() as connection:
            for start in range(0, len(traces), _AT_ONCE):
                some = [one.song for one in traces[start : start + _AT_ONCE]]
                chosen = sa.select(tags.c.run_id).where(tags.c.key == PARTITION_NAME_TAG, tags.c.value.in_(some))
                found |= set(connection.execute(chosen).scalars())
        return frozenset(found)

    def erase(self, traces: Sequence[Traces], *, names: Names, tally: Tally) -> None:
        """Remove the songs' runs, events and partitions, and mask everything else that names one of `names`.

        The rows of runs go last: they tell which events and files are the song's.
        """
        runs = sorted(self.ids(traces) | {run_id for one in traces for run_id in one.run_ids})
        songs = sorted(one.song for one in traces)
        if songs:
            self._erase_events(runs, songs=songs, tally=tally)
        self._erase_files(names, tally=tally)
        self._mask_notes(names, tally=tally)
        if songs:
            self._erase_runs(runs, tally=tally)

    def compact(self) -> None:
        """Rewrite every database of the instance that names of songs were in."""
        for storage, metadata in self._storages():
            with _connect(storage) as connection:
                dialect, database = connection.dialect.name, connection.engine.url.database
                there = _tables(connection, metadata)
            if dialect == "postgresql":
                with connection.engine.connect() as alone:
                    vacuum_tables(alone, (table.name for table in there))
            elif database and Path(database).is_file():
                compact_sqlite(Path(database))

    def _runs_of(self, one: Traces) -> list[dg.DagsterRun]:
        found = {run.run_id: run for run in self._instance.get_runs(dg.RunsFilter(tags={PARTITION_NAME_TAG: one.song}))}
        for run_id in one.run_ids:
            run = None if run_id in found else self._instance.get_run_by_id(run_id)
            if run is not None and run.tags.get(PARTITION_NAME_TAG) in (None, one.song):
                found[run_id] = run
        return list(found.values())

    def _is_ending(self, run: dg.DagsterRun) -> bool:
        """Return whether the process of a finished run may still write; its number may be another's by now."""
        if self._alone:
            return False
        record = self._instance.get_run_record_by_id(run.run_id)
        ended_at = record.end_time if record is not None else None
        if ended_at is not None and time.time() - ended_at > LONGEST_ENDING_S:
            return False
        return bool(run_lives(self._instance, run.run_id, others=True))

    def _ended(self, run: dg.DagsterRun, *, bound: bool) -> bool:
        """Report a run ended whose process is gone; ask one beside a job, which heeds no ledger, to stop."""
        lives = run_lives(self._instance, run.run_id)
        if not lives and (self._alone or lives is False):
            self._instance.report_run_canceled(run, message="its song is being deleted")
            return True
        if not bound and run.status is dg.DagsterRunStatus.STARTED:
            self._instance.run_launcher.terminate(run.run_id)
        return False

    def _erase_events(self, runs: Sequence[str], *, songs: Sequence[str], tally: Tally) -> None:
        events, checks = SqlEventLogStorageTable, AssetCheckExecutionsTable
        mine = events.c.run_id.in_(runs) | events.c.partition.in_(songs)
        storage = _sql(self._instance.event_log_storage)
        for run_id in runs:
            storage.free_concurrency_slots_for_run(run_id)
        with storage.index_connection() as connection:
            chosen = sa.select(events.c.id).where(mine)
            connection.execute(sa.delete(AssetEventTagsTable).where(AssetEventTagsTable.c.event_id.in_(chosen)))
            tally.add("events", connection.execute(sa.delete(events).where(mine)).rowcount)
            connection.execute(sa.delete(checks).where(checks.c.run_id.in_(runs) | checks.c.partition.in_(songs)))
            for table in (ConcurrencySlotsTable, PendingStepsTable):
                connection.execute(sa.delete(table).where(table.c.run_id.in_(runs)))
            _mend_assets(connection, runs=runs, songs=songs)
            partitions = DynamicPartitionsTable
            named = (partitions.c.partitions_def_name == song_partitions.name) & partitions.c.partition.in_(songs)
            tally.add("partitions", connection.execute(sa.delete(partitions).where(named)).rowcount)

    def _erase_files(self, names: Names, *, tally: Tally) -> None:
        """Remove the databases and logs of runs, and mask the logs of sensors."""
        for path in sorted((self._home / "history" / "runs").glob("*")):
            if names.find_ids(os.fsencode(path.name)):
                remove_path(path, tally=tally, kind="run_files")
        for path in sorted((self._home / "storage").glob("*")):
            if names.find_ids(os.fsencode(path.name)):
                remove_path(path, tally=tally, kind="run_files")
            elif not _RUN_FOLDER.fullmatch(path.name):  # the log of another run tells of another song
                erase_from_folder(path, names=names, tally=tally, kind="run_files")
        erase_from_folder(self._home / "logs", names=names, tally=tally, kind="run_files")

    def _mask_notes(self, names: Names, *, tally: Tally) -> None:
        """Mask ticks, cursors, heartbeats, backfills, and whatever else Dagster keeps as text."""
        for storage, metadata in self._storages():
            with _connect(storage) as connection:
                for table in _tables(connection, metadata):
                    tally.add("notes", _mask_table(connection, table, names=names))

    def _erase_runs(self, runs: Sequence[str], *, tally: Tally) -> None:
        with _sql(self._instance.run_storage).connect() as connection:
            connection.execute(sa.delete(RunTagsTable).where(RunTagsTable.c.run_id.in_(runs)))
            tally.add("runs", connection.execute(sa.delete(RunsTable).where(RunsTable.c.run_id.in_(runs))).rowcount)

    def _storages(self) -> Iterator[tuple[Any, sa.MetaData]]:  # Dagster's storages, which have no common type
        yield _sql(self._instance.run_storage), RunStorageSqlMetadata
        yield _sql(self._instance.event_log_storage), SqlEventLogStorageMetadata
        if self._instance.schedule_storage is not None:  # an instance in memory has none
            yield _sql(self._instance.schedule_storage), ScheduleStorageSqlMetadata


def _sql(storage: Any) -> Any:  # noqa: ANN401 - Dagster's storages, which have no common type
    """Return a storage that keeps its data in tables; this release knows no other.

    Raises:
        PermanentFailure: with `INTERNAL`, for a storage of another kind.
    """
    if not hasattr(storage, "connect") and not hasattr(storage, "index_connection"):
        raise failure(ErrorCode.INTERNAL, f"{type(storage).__name__} has no tables, so nothing can be deleted from it")
    return storage


def _connect(storage: Any) -> AbstractContextManager[sa.Connection]:  # noqa: ANN401 - as above
    found: AbstractContextManager[sa.Connection] = (
        storage.index_connection() if hasattr(storage, "index_connection") else storage.connect()
    )
    return found


def _tables(connection: sa.Connection, metadata: sa.MetaData) -> list[sa.Table]:
    """Return the tables of `metadata` that are there."""
    there = set(sa.inspect(connection).get_table_names())
    return [table for table in metadata.sorted_tables if table.name in there]


def _mask_table(connection: sa.Connection, table: sa.Table, *, names: Names) -> int:
    """Mask the text columns of every row of a table that is read whole; return how many rows changed."""
    texts = [column for column in table.columns if isinstance(column.type, sa.Text | sa.String)]
    if any(table is large for large in _LARGE) or not texts or "id" not in table.columns:
        return 0
    changes = []
    for row in connection.execute(sa.select(table.c.id, *texts)).mappings():
        masked = {
            column.name: names.masked_json(row[column.name])
            for column in texts
            if isinstance(row[column.name], str) and names.find(row[column.name].encode(errors="replace"))
        }
        if any(masked[name] != row[name] for name in masked):
            changes.append((row["id"], masked))
    for number, masked in changes:
        connection.execute(sa.update(table).where(table.c.id == number).values(masked))
    return len(changes)


def _mend_assets(connection: sa.Connection, *, runs: Sequence[str], songs: Sequence[str]) -> None:
    """Let each asset's last materialization be the newest that is left, and forget its cached partitions."""
    keys, events = AssetKeyTable, SqlEventLogStorageTable
    for row in connection.execute(sa.select(keys)).mappings().all():
        values: dict[str, Any] = {}  # columns of several types
        cached = row["cached_status_data"] or ""
        if any(song in cached for song in songs):
            values["cached_status_data"] = None
        said = row["last_materialization"] or ""
        if row["last_run_id"] in runs or any(name in said for name in (*runs, *songs)):
            newest = (
                sa.select(events.c.event, events.c.run_id)
                .where(events.c.asset_key == row["asset_key"], events.c.dagster_event_type == _MATERIALIZED)
                .order_by(events.c.id.desc())
                .limit(1)
            )
            left = connection.execute(newest).first()
            values |= {
                "last_materialization": None if left is None else left.event,
                "last_run_id": None if left is None else left.run_id,
            }
        if values:
            connection.execute(sa.update(keys).where(keys.c.id == row["id"]).values(values))
