"""The IO manager: hands a stage's contract to the store and gives only proven ones back.

What a room returns is a `Product`; it becomes a manifest with its files. What a room receives is an
`Upstream` whose checks, version and checksums were verified. A refusal here fails the job like any other.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import dagster as dg

from ironclad_assets.contracts.v1.base import CheckOutcome, Contract
from ironclad_assets.contracts.v1.job import STAGES
from ironclad_assets.contracts.v1.library_entry import LibraryEntry
from ironclad_assets.contracts.v1.recombined_track import RecombinedTrack
from ironclad_assets.contracts.v1.song_analysis import SongAnalysis
from ironclad_assets.contracts.v1.song_metadata import SongMetadata
from ironclad_assets.contracts.v1.staged_chunks import StagedChunks
from ironclad_assets.contracts.v1.stems import Stems
from ironclad_assets.contracts.v1.validated_file import ValidatedFile
from ironclad_assets.errors import ErrorCode, IroncladError, JobCanceled, PermanentFailure
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.worker import current_worker
from ironclad_assets.resources.outcome import dagster_failure, settle_failure
from ironclad_assets.resources.quarantine import release_song
from ironclad_assets.storage.artifacts import Artifact, Envelope, load_artifact, persist_artifact
from ironclad_assets.storage.sizes import stored_size
from ironclad_assets.storage.store import Store

JOB_TAG = "ironclad/job_uuid"
"""Tag of a run that the dispatcher requested for a job."""

HEED_INTERVAL_S = 0.5

C = TypeVar("C", bound=Contract)

CONTRACTS: Mapping[str, type[Contract]] = {
    "validated_file": ValidatedFile,
    "song_metadata": SongMetadata,
    "staged_chunks": StagedChunks,
    "stems": Stems,
    "recombined_track": RecombinedTrack,
    "library_entry": LibraryEntry,
    "song_analysis": SongAnalysis,
}
"""The contract of each asset's payload."""


@dataclass(frozen=True, slots=True)
class Product:
    """What a room made, on its way into the store.

    `reused` says that the store already holds exactly this; `last` that the run has no further stage;
    `seconds` is the wall time that the room took; `beside_job` that it is no stage, so that the job of the
    envelope, which has ended, hears nothing of it.
    """

    payload: Contract
    key: str
    checks: tuple[CheckOutcome, ...]
    inputs: Mapping[str, str]
    envelope: Envelope
    reused: bool
    last: bool
    seconds: float
    beside_job: bool = False


@dataclass(frozen=True, slots=True)
class Upstream:
    """An earlier stage's artifact as a room receives it: verified, its contract named by whoever reads it."""

    artifact: Artifact[Contract]

    @property
    def key(self) -> str:
        return self.artifact.key

    @property
    def folder(self) -> Path:
        return self.artifact.folder

    def read(self, contract: type[C]) -> C:
        """Return the payload as `contract`.

        Raises:
            PermanentFailure: it is another contract.
        """
        if not isinstance(self.artifact.payload, contract):
            raise PermanentFailure(
                f"{type(self.artifact.payload).__name__} where {contract.__name__} was expected",
                code=ErrorCode.CONTRACT_INVALID,
            )
        return self.artifact.payload


@dataclass(slots=True)
class CancelHeed:
    """Ends long reading of files when the job is to be canceled; asks the ledger twice a second.

    A run that was started by hand names no job; it is asked about again when its stage begins.
    """

    ledger: Ledger
    job_uuid: str | None
    asked_at: float = field(default_factory=time.monotonic)

    def __call__(self) -> None:
        if self.job_uuid is None or time.monotonic() - self.asked_at < HEED_INTERVAL_S:
            return
        self.asked_at = time.monotonic()
        if self.ledger.cancel_requested(self.job_uuid):
            raise JobCanceled("canceled while files were verified")


class ContractIOManager(dg.IOManager):
    """Stores products, loads artifacts, and keeps the ledger in step with what is stored."""

    def __init__(self, *, store: Store, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger

    def handle_output(self, context: dg.OutputContext, obj: Product) -> None:
        """Persist `obj`, then report the stage (and, after the last one, the job) as done.

        A run whose job is another's by now reports nothing: that one reuses what is stored, and reports it.
        """
        envelope = obj.envelope
        try:
            if not obj.reused:
                manifest = persist_artifact(
                    self._store.stage(envelope.stage, envelope.song),
                    obj.payload,
                    key=obj.key,
                    checks=obj.checks,
                    inputs=obj.inputs,
                    envelope=envelope,
                    heed=CancelHeed(self._ledger, envelope.job_uuid),
                )
                size_bytes = stored_size(manifest)
                self._ledger.usage.record(envelope.song, envelope.stage, size_bytes=size_bytes, run_id=envelope.run_id)
        except IroncladError as error:
            if not obj.beside_job:
                settle_failure(
                    self._ledger,
                    job_uuid=envelope.job_uuid,
                    stage=envelope.stage,
                    error=error,
                    run_id=envelope.run_id,
                )
            raise dagster_failure(error) from error
        if not obj.beside_job and all(check.passed for check in obj.checks if check.blocking):
            try:
                self._report_done(obj)
            except IroncladError as error:
                raise dagster_failure(error) from error

    def _report_done(self, obj: Product) -> None:
        job_uuid, run_id = obj.envelope.job_uuid, obj.envelope.run_id
        self._ledger.finish_stage(job_uuid, obj.envelope.stage, seconds=obj.seconds, reused=obj.reused, run_id=run_id)
        if obj.last:
            self._ledger.complete(job_uuid, actor=f"run:{run_id}", run_id=run_id)
            release_song(self._store, obj.envelope.song)

    def load_input(self, context: dg.InputContext) -> Upstream:
        """Return the upstream stage's artifact of the same song, verified."""
        stage = context.asset_key.path[-1]
        song = context.asset_partition_key
        run = context.step_context.dagster_run
        heed = CancelHeed(self._ledger, run.tags.get(JOB_TAG))
        try:
            return Upstream(load_artifact(self._store.stage(stage, song), CONTRACTS[stage], heed=heed))
        except IroncladError as error:
            if context.step_context.step.key not in STAGES:
                raise dagster_failure(error) from error
            actor = f"run:{run.run_id}"
            job = self._ledger.begin_run(song, run_id=run.run_id, worker=current_worker(), actor=actor)
            settle_failure(self._ledger, job_uuid=job.job_uuid, stage=stage, error=error)
            raise dagster_failure(error) from error
