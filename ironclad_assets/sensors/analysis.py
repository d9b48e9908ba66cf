"""Asks for the analysis of complete songs, one at a time and only while no song waits or is worked on.

The cursor is the line of the ledger's history up to which every completed job was looked at, so nothing is
forgotten by a restart; songs from before the analysis was installed get their turn too. A run that failed is asked
for again, twice, unless its failure is permanent.
"""

from typing import Literal

import dagster as dg
from dagster._core.events import DagsterEventType  # no public name for the filter of step events
from pydantic import BaseModel

from ironclad_assets.assets.song_analysis import CODE_VERSION
from ironclad_assets.contracts.v1.job import Job, JobState
from ironclad_assets.errors import PermanentFailure, StorageUnavailable
from ironclad_assets.jobs import analyse_song
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.partitions import songs
from ironclad_assets.pipeline.analyse import analysis_version, is_analysed
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store

MOST_LOOKED_AT = 200
"""Completed jobs that one tick looks at; most need nothing."""

MOST_TRIES = 3
PRIORITY = -10
"""Below that of any song in Dagster's queue."""

Ended = Literal["unfinished", "done", "again"]


class Cursor(BaseModel):
    """Where the requests have got to: the last line looked at, and the job whose run was asked for, if any."""

    line: int = 0
    job_uuid: str | None = None
    tries: int = 0


def run_key(job_uuid: str, *, tries: int) -> str:
    """Return the run key of one try; Dagster starts at most one run for it."""
    return f"analysis:{job_uuid}:{tries}"


class AnalysisRequests:
    """What each tick does."""

    def __init__(self, *, ledger: Ledger, store: Store, settings: Settings) -> None:
        self._ledger = ledger
        self._store = store
        self._settings = settings

    def tick(self, context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        """Follow the run that was asked for, or ask for the next."""
        why = self._why_not()
        if why:
            return dg.SkipReason(why)
        cursor = Cursor.model_validate_json(context.cursor) if context.cursor else Cursor()
        if cursor.job_uuid is not None:
            ended = self._look(context.instance, cursor)
            if ended == "unfinished":
                return dg.SkipReason(f"job {cursor.job_uuid} is being analysed")
            again = ended == "again" and cursor.tries < MOST_TRIES
            job = self._find_job(cursor.job_uuid) if again else None
            if job is not None:
                return self._request(job, cursor=cursor)
            cursor = Cursor(line=cursor.line)
        for line, job in self._ledger.completions(after=cursor.line, limit=MOST_LOOKED_AT):
            cursor = Cursor(line=line)
            if self._needs_analysis(context.instance, job):
                return self._request(job, cursor=cursor)
        return dg.SensorResult(skip_reason="every song is analysed", cursor=cursor.model_dump_json())

    def _why_not(self) -> str:
        """Return why nothing is asked for now, or nothing."""
        if not self._settings.analyse:
            return "switched off by IRONCLAD_ANALYSE"
        try:
            analysis_version()
            self._store.require_ready()
        except (PermanentFailure, StorageUnavailable) as error:
            return error.describe()
        counts = self._ledger.count_by_state()
        waiting = counts[JobState.QUEUED] + counts[JobState.RUNNING]
        return f"{waiting} songs come first" if waiting else ""

    def _needs_analysis(self, instance: dg.DagsterInstance, job: Job) -> bool:
        latest = self._ledger.latest_job(job.song)
        return (
            latest is not None
            and latest.job_uuid == job.job_uuid
            and not is_analysed(self._store, job.song, code_version=CODE_VERSION)
            and instance.has_dynamic_partition(str(songs.name), job.song)
        )

    def _find_job(self, job_uuid: str) -> Job | None:
        """Return the job, or None where its song was deleted meanwhile."""
        try:
            return self._ledger.job(job_uuid)
        except PermanentFailure:
            return None

    def _request(self, job: Job, *, cursor: Cursor) -> dg.SensorResult:
        asked = Cursor(line=cursor.line, job_uuid=job.job_uuid, tries=cursor.tries + 1)
        request = dg.RunRequest(
            run_key=run_key(job.job_uuid, tries=asked.tries),
            partition_key=job.song,
            tags={"dagster/priority": str(PRIORITY), "ironclad/analysis_of": job.job_uuid},
        )
        return dg.SensorResult(run_requests=[request], cursor=asked.model_dump_json())

    def _look(self, instance: dg.DagsterInstance, cursor: Cursor) -> Ended:
        """Return what became of the run that was asked for; one that never was is asked for again."""
        key = run_key(str(cursor.job_uuid), tries=cursor.tries)
        run = next(iter(instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": key}), limit=1)), None)
        if run is None:
            return "again"
        if not run.is_finished:
            return "unfinished"
        failed = run.status is dg.DagsterRunStatus.FAILURE and not _is_permanent(instance, run)
        return "again" if failed else "done"


def _is_permanent(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Return whether the run's step failed for a reason that another run would meet again."""
    records = instance.get_records_for_run(run.run_id, of_type=DagsterEventType.STEP_FAILURE).records
    for record in records:
        event = record.event_log_entry.dagster_event
        told = event.step_failure_data.user_failure_data if event is not None else None
        if told is not None and "permanent" in told.metadata:
            return bool(told.metadata["permanent"].value)
    return False


def build_analysis_requests(requests: AnalysisRequests) -> dg.SensorDefinition:
    """Return the sensor whose ticks are those of `requests`."""

    @dg.sensor(
        job=analyse_song,
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Asks for the analysis of complete songs while no song waits.",
    )
    def song_analyst(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        return requests.tick(context)

    return song_analyst
