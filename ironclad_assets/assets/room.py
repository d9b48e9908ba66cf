"""What every stage has in common: opening the job, reusing equal work, reporting, failing well.

An asset module says what its room takes and makes; this module binds the run to its job, derives the key,
skips work that is already in the store, maps errors to published codes and builds the result. No stage's
own logic belongs here.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import dagster as dg

from ironclad_assets.assets.declaration import StageResult
from ironclad_assets.assets.gate import (
    asked_job,
    last_stage,
    refuse_part_of_waiting,
    refuse_paused,
    refuse_paused_start,
)
from ironclad_assets.assets.lifeline import follow_supervisor
from ironclad_assets.contracts.v1.base import CheckOutcome, Contract
from ironclad_assets.contracts.v1.job import STAGES, Job, JobState, SongIdentity
from ironclad_assets.errors import ErrorCode, IroncladError, JobCanceled, PermanentFailure
from ironclad_assets.io_managers.contract_io_manager import CancelHeed, Product
from ironclad_assets.ledger.pauses import PauseKind
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.worker import current_worker
from ironclad_assets.resources.outcome import dagster_failure, describe_failure, settle_failure
from ironclad_assets.resources.quarantine import quarantine_song
from ironclad_assets.storage.artifacts import Envelope, find_reusable, read_manifest
from ironclad_assets.storage.atomic import storage_error
from ironclad_assets.storage.hashing import hash_json
from ironclad_assets.storage.store import StageFolder, Store

C = TypeVar("C", bound=Contract)

Metadata = Mapping[str, dg.MetadataValue]

PROGRESS_INTERVAL_S = 0.5
CANCEL_INTERVAL_S = 0.4


@dataclass(frozen=True, slots=True)
class Made(Generic[C]):
    """What a room's work came to. `measured` is metadata of this execution only, such as its speed."""

    payload: C
    checks: tuple[CheckOutcome, ...] = ()
    measured: Metadata = field(default_factory=dict)


@dataclass(slots=True)
class LedgerWatch:
    """Carries progress of a stage into the ledger, and the ledger's cancel flag back."""

    ledger: Ledger
    job_uuid: str
    stage: str
    _reported_at: float = 0.0
    _asked_at: float = 0.0

    def progress(self, fraction: float, message: str) -> None:
        now = time.monotonic()
        if now - self._reported_at >= PROGRESS_INTERVAL_S or fraction >= 1.0:
            self._reported_at = now
            self.ledger.report_progress(self.job_uuid, stage=self.stage, fraction=fraction, message=message)

    def canceled(self) -> bool:
        now = time.monotonic()
        if now - self._asked_at < CANCEL_INTERVAL_S:
            return False
        self._asked_at = now
        return self.ledger.cancel_requested(self.job_uuid)


@dataclass(frozen=True, slots=True)
class Room:
    """One stage of one song in one run, with the job it belongs to."""

    context: dg.AssetExecutionContext
    ledger: Ledger
    store: Store
    stage: str
    code_version: str
    song: SongIdentity
    job: Job
    watch: LedgerWatch

    def perform(
        self,
        make: Callable[[Path, str], Made[C]],
        *,
        contract: type[C],
        inputs: Mapping[str, str],
        settings: Mapping[str, Any],  # any JSON value
        describe: Callable[[C, Path], Metadata],
        is_current: Callable[[C], bool] = lambda payload: True,
    ) -> StageResult:
        """Make the stage's output, or reuse the stored one of the same key.

        Args:
            make: gets an empty or continued work folder and the key; returns payload and checks.
            contract: type of the payload.
            inputs: key of each upstream artifact.
            settings: everything else that the payload depends on.
            describe: metadata derived from payload and folder alone.
            is_current: whether a stored payload still holds outside its own folder.
        """
        started = time.monotonic()
        key = hash_json(
            {"stage": self.stage, "code": self.code_version, "inputs": dict(inputs), "settings": dict(settings)}
        )
        folder = self.store.stage(self.stage, self.job.song)
        anew = self._begins_anew(folder)
        if anew and not self._was_here():
            empty_folder(folder.work(key))  # a checkpoint of an earlier job is earlier work too
        run_id = self.context.run.run_id
        self.ledger.start_stage(self.job.job_uuid, self.stage, run_id=run_id)
        heed = CancelHeed(self.ledger, self.job.job_uuid)
        stored = None if anew else find_reusable(folder, contract, key=key, heed=heed)
        if stored is not None and not is_current(stored.payload):
            stored = None
        if stored is not None:
            made, files = Made(stored.payload, stored.checks), stored.folder
        else:
            try:
                made = make(folder.work(key), key)
            except PermanentFailure:
                folder.drop_empty_work(key)
                raise
            made = Made(made.payload, (contract_check(made.payload), *made.checks), made.measured)
            self.ledger.require_run(self.job.job_uuid, run_id=run_id)  # else another run works in the same folder
            files = folder.commit(key)
        product = Product(
            payload=made.payload,
            key=key,
            checks=made.checks,
            inputs=inputs,
            envelope=self._envelope(),
            reused=stored is not None,
            last=self.stage == last_stage(self.context.run),
            seconds=time.monotonic() - started,
        )
        self._refuse_failed_checks(made.checks)
        reuse = {"reused": dg.MetadataValue.bool(product.reused)}
        metadata = {**_describe_job(self.song, self.job), **reuse, **describe(made.payload, files), **made.measured}
        return StageResult(
            value=product,
            metadata=metadata,
            data_version=dg.DataVersion(key),
            check_results=[describe_check(check, stage=self.stage) for check in made.checks],
        )

    def _begins_anew(self, folder: StageFolder) -> bool:
        """Return whether what an earlier job left in `folder` must not be used: the job is a replay from here on."""
        start = self.job.replay_from
        if start is None or STAGES.index(self.stage) < STAGES.index(start):
            return False
        try:
            return read_manifest(folder).job_uuid != self.job.job_uuid
        except PermanentFailure:
            return True

    def _was_here(self) -> bool:
        """Return whether an earlier attempt of this job entered the stage, so that what it left is the job's own."""
        return any(timing.stage == self.stage for timing in self.job.stages)

    def _refuse_failed_checks(self, checks: tuple[CheckOutcome, ...]) -> None:
        failed = [check for check in checks if check.blocking and not check.passed]
        if not failed:
            return
        code = ErrorCode.STEMS_INVALID if self.stage == "stems" else ErrorCode.CONTRACT_INVALID
        if any(check.name == "quota_kept" for check in failed):
            code = ErrorCode.QUOTA_EXCEEDED
        detail = "; ".join(f"{check.name}: {check.detail}" for check in failed)
        error = PermanentFailure(detail, code=code)
        run_id = self.context.run.run_id
        settle_failure(self.ledger, job_uuid=self.job.job_uuid, stage=self.stage, error=error, run_id=run_id)
        quarantine_song(self.store, song=self.song, job=self.job, stage=self.stage, error=error)

    def _envelope(self) -> Envelope:
        return Envelope(
            stage=self.stage,
            song=self.job.song,
            job_uuid=self.job.job_uuid,
            user_id=self.job.user_id,
            trace_id=self.job.trace_id,
            attempt=self.job.attempt,
            run_id=self.context.run.run_id,
            code_version=self.code_version,
        )


@contextmanager
def open_room(context: dg.AssetExecutionContext, *, ledger: Ledger, store: Store, code_version: str) -> Iterator[Room]:
    """Bind the run to the song's job and turn every error of the stage into the job's state.

    Raises:
        dg.Failure: the stage failed; its metadata has the published code, reason and remedy.
    """
    follow_supervisor()
    song_key, stage = context.partition_key, context.asset_key.path[-1]
    actor = f"run:{context.run.run_id}"
    job: Job | None = None
    song: SongIdentity | None = None
    try:
        song = ledger.song(song_key)
        refuse_part_of_waiting(ledger, context.run, song=song_key)
        refuse_paused_start(ledger, context.run, stage=stage)
        job = ledger.begin_run(
            song_key, run_id=context.run.run_id, worker=current_worker(), actor=actor, job_uuid=asked_job(context.run)
        )
        watch = LedgerWatch(ledger, job.job_uuid, stage)
        if ledger.cancel_requested(job.job_uuid):
            raise JobCanceled("canceled before the stage began")
        if not job.state.active:
            raise PermanentFailure(f"job {job.job_uuid} is {job.state} already", code=ErrorCode.ILLEGAL_TRANSITION)
        refuse_paused(ledger, PauseKind.STAGE, stage)
        ledger.terms.require(job.user_id)  # also of jobs that were queued before these terms were
        store.require_ready()
        yield Room(context, ledger, store, stage, code_version, song, job, watch)
    except (dg.Failure, dg.RetryRequested):
        raise
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
        if job is not None and ledger.job(job.job_uuid).run_id == context.run.run_id:
            ledger.canceled(job.job_uuid, actor="dagster")
        raise
    except Exception as unexpected:  # the door of the room: context is added, nothing swallowed
        error = published_error(unexpected, store)
        if job is not None and song is not None:
            run_id = context.run.run_id
            settled = settle_failure(ledger, job_uuid=job.job_uuid, stage=stage, error=error, run_id=run_id)
            if settled.state is JobState.FAILED and job.state.active:
                quarantine_song(store, song=song, job=job, stage=stage, error=error)
        context.log_event(
            dg.AssetObservation(
                asset_key=context.asset_key,
                partition=song_key,
                description=error.describe(),
                metadata={**_describe_job(song, job), **describe_failure(error)},
            )
        )
        raise dagster_failure(error) from unexpected


def empty_folder(folder: Path) -> None:
    """Remove what an interrupted attempt left in a work folder that cannot be continued."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _describe_job(song: SongIdentity | None, job: Job | None) -> dict[str, dg.MetadataValue]:
    """Return whose song this is and which job; what could not be found out yet is left away."""
    shown: dict[str, dg.MetadataValue] = {}
    if song is not None:
        shown |= {"song_name": dg.MetadataValue.text(song.original_name), "user": dg.MetadataValue.text(song.user_id)}
    if job is not None:
        shown |= {"job_uuid": dg.MetadataValue.text(job.job_uuid), "attempt": dg.MetadataValue.int(job.attempt)}
    return shown


def contract_check(payload: Contract) -> CheckOutcome:
    """Return that `payload` is what its contract says, as an IO manager will read it."""
    type(payload).model_validate(payload.model_dump(mode="json"))
    return CheckOutcome(name="contract_valid", passed=True, detail=type(payload).__name__)


def published_error(error: Exception, store: Store) -> IroncladError:
    """Return `error` with a published code."""
    if isinstance(error, IroncladError):
        return error
    if isinstance(error, OSError):
        mapped = storage_error(error, store.root)
        if isinstance(mapped, IroncladError):
            return mapped
    return IroncladError(f"{type(error).__name__}: {error}", code=ErrorCode.INTERNAL)


def describe_check(check: CheckOutcome, *, stage: str) -> dg.AssetCheckResult:
    """Return the check of `stage` as Dagster records it."""
    return dg.AssetCheckResult(
        asset_key=stage,
        check_name=check.name,
        passed=check.passed,
        severity=dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN,
        description=check.detail or None,
        metadata=dict(check.values),
    )
