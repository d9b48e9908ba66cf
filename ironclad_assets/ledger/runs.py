"""What a run tells the ledger: that it began, where it is, how it ended, or that its process died.

A run is bound to a job by `begin_run`; from then on the job's worker is known, so that a crash can be told
from slowness. Where a run names itself (`run_id`), nothing is written about a job that is its no more: that of a run
which was given up for dead and goes on. What users and operators decide is in `store`.
"""

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.sql.elements import ColumnElement

from ironclad_assets.contracts.v1.job import Job, JobError, JobState
from ironclad_assets.errors import ErrorCode, PermanentFailure, failure
from ironclad_assets.ledger.changes import add_attempt, change_state, lock_ending_job, next_attempt
from ironclad_assets.ledger.progress import overall_fraction
from ironclad_assets.ledger.reads import (
    LedgerReads,
    active_job,
    active_worker,
    first_job,
    require_job,
    require_song,
)
from ironclad_assets.ledger.rows import (
    NO_ERROR,
    NO_WORKER,
    Values,
    error_values,
    job_query,
    utc_now,
    worker_values,
)
from ironclad_assets.ledger.tables import history, jobs, stage_timings
from ironclad_assets.ledger.worker import WorkerIdentity, is_alive

CRASH_LIMIT = 3
INTERRUPTION_LIMIT = 10
INTERRUPTED = "the whole system stopped"
"""How the history tells of an interruption, so that they can be counted."""

UNBOUND: Values = {**NO_WORKER, "run_id": None, "dispatched_at": None}


class RunWrites(LedgerReads):
    """The part of the ledger that runs write."""

    def begin_run(
        self, song: str, *, run_id: str, worker: WorkerIdentity, actor: str, job_uuid: str | None = None
    ) -> Job:
        """Bind a run to the song's job and return the job, running; safe to call from every step of the run.

        A run that was bound before gets its job again, whatever became of it (look at its `state`). Else the
        song's active job is taken: queued or held, or running under a worker that is dead or is the caller
        itself. A song without an active job gets a new one with the options of its latest.

        Args:
            song: the partition key.
            run_id: Dagster's id of the run.
            worker: the process that calls.
            actor: who did this, for the history.
            job_uuid: the job that this run was asked for; None for a run that somebody started by hand and
                for a re-execution. A run asked for a job never starts another: where that job has ended it
                is returned as it is.

        Raises:
            PermanentFailure: `UNKNOWN_SONG`; or `JOB_ACTIVE` while another living worker has the song.
        """
        with self._database.write() as connection:
            bound = first_job(connection, job_query.where(jobs.c.run_id == run_id).order_by(jobs.c.attempt.desc()))
            if bound is not None:
                return _confirm_worker(connection, bound, worker=worker)
            require_song(connection, song, lock=True)
            asked = None if job_uuid is None else require_job(connection, job_uuid, lock=True)
            if asked is not None and not asked.state.active:
                return asked
            job = active_job(connection, song)
            if job is None:
                job = add_attempt(connection, song, options=None, state=JobState.RUNNING, actor=actor)
                return _bind(connection, job, run_id=run_id, worker=worker)
            return _take(connection, job, run_id=run_id, worker=worker, actor=actor)

    def require_run(self, job_uuid: str, *, run_id: str) -> None:
        """Raise unless the job is the run's.

        Raises:
            PermanentFailure: with `SUPERSEDED`.
        """
        with self._database.read() as connection:
            _refuse_given_up(require_job(connection, job_uuid), run_id=run_id)

    def start_stage(self, job_uuid: str, stage: str, *, run_id: str | None = None) -> None:
        """Note that a running job entered `stage`; a stage entered again starts afresh.

        Raises:
            PermanentFailure: with `SUPERSEDED` where the job is not the run's, with `ILLEGAL_TRANSITION` where it is
                not running.
        """
        with self._database.write() as connection:
            enter_stage(connection, job_uuid, stage, run_id=run_id)

    def finish_stage(
        self, job_uuid: str, stage: str, *, seconds: float, reused: bool, run_id: str | None = None
    ) -> None:
        """Note that a running job left `stage`, after `seconds`, with an artifact that was `reused` or made.

        Raises:
            PermanentFailure: with `SUPERSEDED` where the job is not the run's, with `ILLEGAL_TRANSITION` where it is
                not running.
        """
        now = utc_now()
        this = (stage_timings.c.job_uuid == job_uuid) & (stage_timings.c.stage == stage)
        values = {"fraction": overall_fraction(stage, fraction=1.0), "message": "", "updated_at": now}
        with self._database.write() as connection:
            _update_running(connection, job_uuid, values=values, run_id=run_id)
            connection.execute(
                update(stage_timings).where(this).values(ended_at=now, seconds=round(seconds, 3), reused=reused)
            )

    def report_progress(self, job_uuid: str, *, stage: str, fraction: float, message: str) -> None:
        """Note that `fraction` (0..1) of `stage` is done. One statement; nothing happens to a job not running."""
        values = {
            "stage": stage,
            "fraction": overall_fraction(stage, fraction=fraction),
            "message": message,
            "updated_at": utc_now(),
        }
        with self._database.write() as connection:
            connection.execute(update(jobs).where(_running(job_uuid)).values(values))

    def complete(self, job_uuid: str, *, actor: str, run_id: str | None = None) -> Job:
        """End a running job well.

        Raises:
            PermanentFailure: with `SUPERSEDED` where the job is not the run's.
        """
        values = {**NO_ERROR, "fraction": 1.0}
        return self._end(job_uuid, to=JobState.COMPLETED, actor=actor, values=values, run_id=run_id)

    def fail(self, job_uuid: str, error: JobError, *, actor: str) -> Job:
        """End a job badly, for the reason `error`."""
        return self._end(
            job_uuid,
            to=JobState.FAILED,
            actor=actor,
            values=error_values(error),
            detail=f"{error.code}: {error.detail}",
        )

    def canceled(self, job_uuid: str, *, actor: str) -> Job:
        """End a job because somebody asked for it, after its work has stopped."""
        return self._end(job_uuid, to=JobState.CANCELED, actor=actor, values={"cancel_requested": True})

    def requeue_crashed(self, job_uuid: str, *, actor: str, limit: int = CRASH_LIMIT) -> Job:
        """Queue a job whose run's process died, as a new attempt; at the `limit`-th crash it fails instead.

        Also right for a queued job whose run failed before it began. A job that somebody wanted to cancel is
        canceled.
        """
        with self._database.write() as connection:
            job = lock_ending_job(connection, job_uuid)
            crashes = job.crashes + 1
            return _queue_again(
                connection,
                job,
                actor=actor,
                values={"crashes": crashes},
                given_up=crashes >= limit,
                detail=f"the run's process died (crash {crashes} of {limit})",
            )

    def requeue_interrupted(self, job_uuid: str, *, actor: str, limit: int = INTERRUPTION_LIMIT) -> Job:
        """Queue a job whose run ended because everything did, as a new attempt; that is no crash of its own.

        A song that takes the whole machine down each time fails at the `limit`-th interruption.
        """
        with self._database.write() as connection:
            job = lock_ending_job(connection, job_uuid)
            told = history.c.detail.startswith(INTERRUPTED, autoescape=True)
            counted = select(func.count()).where(history.c.job_uuid == job_uuid, told)
            times = int(connection.execute(counted).scalar_one()) + 1
            return _queue_again(
                connection,
                job,
                actor=actor,
                values={},
                given_up=times >= limit,
                detail=f"{INTERRUPTED} (interruption {times} of {limit})",
            )

    def _end(
        self, job_uuid: str, *, to: JobState, actor: str, values: Values, detail: str = "", run_id: str | None = None
    ) -> Job:
        """Bring a job to its last state; a job that is there already is left as it is."""
        with self._database.write() as connection:
            job = lock_ending_job(connection, job_uuid)
            _refuse_given_up(job, run_id=run_id)
            if job.state is to:
                return job
            return change_state(connection, job, to=to, actor=actor, values=values, detail=detail)


def _queue_again(connection: Connection, job: Job, *, actor: str, values: Values, given_up: bool, detail: str) -> Job:
    """Queue a job whose run is gone as a new attempt, or end it where it was to be canceled or is given up."""
    if job.cancel_requested:
        return change_state(connection, job, to=JobState.CANCELED, actor=actor, values={})
    if given_up:
        error = JobError(
            code=ErrorCode.WORKER_CRASHED.code,
            detail=f"{detail}, last in {job.stage or 'its start'}",
            remedy=ErrorCode.WORKER_CRASHED.facts.remedy,
            stage=job.stage,
        )
        return change_state(connection, job, to=JobState.FAILED, actor=actor, values={**values, **error_values(error)})
    values = {**UNBOUND, **values, "attempt": next_attempt(connection, job.song)}
    return change_state(connection, job, to=JobState.QUEUED, actor=actor, values=values, detail=detail)


def _take(connection: Connection, job: Job, *, run_id: str, worker: WorkerIdentity, actor: str) -> Job:
    """Bind a run to the active `job`, or refuse because another living worker has it."""
    values: Values = {}
    detail = f"run {run_id}"
    if job.state is JobState.RUNNING:
        holder = active_worker(connection, job.song)
        if holder is not None and holder != worker and is_alive(holder):
            raise failure(ErrorCode.JOB_ACTIVE, f"job {job.job_uuid} of song {job.song} is running in run {job.run_id}")
        detail = f"run {run_id} took over from run {job.run_id}"
        values = {"crashes": job.crashes + 1} if holder != worker else {}
    job = change_state(connection, job, to=JobState.RUNNING, actor=actor, values={**values, **NO_ERROR}, detail=detail)
    return _bind(connection, job, run_id=run_id, worker=worker)


def _bind(connection: Connection, job: Job, *, run_id: str, worker: WorkerIdentity) -> Job:
    now = utc_now()
    values = {**worker_values(worker), "run_id": run_id, "started_at": now, "dispatched_at": now, "updated_at": now}
    connection.execute(update(jobs).where(jobs.c.job_uuid == job.job_uuid).values(values))
    return require_job(connection, job.job_uuid)


def _confirm_worker(connection: Connection, job: Job, *, worker: WorkerIdentity) -> Job:
    """Note the process that now carries on the run of a running job."""
    if job.state is JobState.RUNNING:
        connection.execute(update(jobs).where(_running(job.job_uuid)).values(worker_values(worker)))
    return job


def _running(job_uuid: str) -> ColumnElement[bool]:
    return (jobs.c.job_uuid == job_uuid) & (jobs.c.state == JobState.RUNNING.value)


def given_up(song: str, *, run_id: str) -> PermanentFailure:
    """Return what a run is told that is not, or no more, the one that works on `song`."""
    return PermanentFailure(f"run {run_id} was given up: it works on song {song} no more", code=ErrorCode.SUPERSEDED)


def _refuse_given_up(job: Job, *, run_id: str | None) -> None:
    if run_id is not None and job.run_id != run_id:
        raise given_up(job.song, run_id=run_id)


def enter_stage(connection: Connection, job_uuid: str, stage: str, *, run_id: str | None = None) -> None:
    """Note that a running job entered `stage`, as `Runs.start_stage` does, inside a transaction."""
    now = utc_now()
    values = {"stage": stage, "fraction": overall_fraction(stage, fraction=0.0), "message": "", "updated_at": now}
    _update_running(connection, job_uuid, values=values, run_id=run_id)
    this = (stage_timings.c.job_uuid == job_uuid) & (stage_timings.c.stage == stage)
    connection.execute(delete(stage_timings).where(this))
    connection.execute(insert(stage_timings).values(job_uuid=job_uuid, stage=stage, started_at=now, reused=False))


def _update_running(connection: Connection, job_uuid: str, *, values: Values, run_id: str | None) -> None:
    which = _running(job_uuid) if run_id is None else _running(job_uuid) & (jobs.c.run_id == run_id)
    changed = connection.execute(update(jobs).where(which).values(values))
    if changed.rowcount == 0:
        job = require_job(connection, job_uuid)
        _refuse_given_up(job, run_id=run_id)
        raise failure(ErrorCode.ILLEGAL_TRANSITION, f"job {job_uuid} is {job.state}, not running")
