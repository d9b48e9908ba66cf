"""Artifacts: persisting a stage's contract with its files, and trusting it again only after proof.

The manifest is written last and names every file's size and SHA-256. On reading, version, payload,
checks and checksums are verified, and what does not hold is refused with a published code. Where the store lasts in an
object store, that is asked first, and what is missing here comes from there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from ironclad_assets.contracts.v1.base import CheckOutcome, Contract, FileRecord
from ironclad_assets.contracts.v1.manifest import Manifest
from ironclad_assets.errors import ErrorCode, JobCanceled, PermanentFailure
from ironclad_assets.storage.hashing import carry_on, hash_file, hash_json, record_file
from ironclad_assets.storage.manifests import parse_manifest
from ironclad_assets.storage.publication import TRIES
from ironclad_assets.storage.store import StageFolder

C = TypeVar("C", bound=Contract)
C_co = TypeVar("C_co", bound=Contract, covariant=True)


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who asked for a stage's work, and in which attempt: never part of the payload."""

    stage: str
    song: str
    job_uuid: str
    user_id: str
    trace_id: str
    attempt: int
    run_id: str
    code_version: str


@dataclass(frozen=True, slots=True)
class Artifact(Generic[C_co]):
    """A stage's verified output. `folder` holds the files that the payload names."""

    payload: C_co
    folder: Path
    key: str
    checks: tuple[CheckOutcome, ...]


def persist_artifact(
    stage_folder: StageFolder,
    payload: Contract,
    *,
    key: str,
    checks: tuple[CheckOutcome, ...],
    inputs: Mapping[str, str],
    envelope: Envelope,
    heed: Callable[[], None] = carry_on,
) -> Manifest:
    """Commit the work folder of `key`, then write the manifest, then drop what it replaced.

    `heed` is called while files are hashed; what it raises ends the work before the manifest is written.

    Raises:
        StorageUnavailable: disk full, read-only or away; the earlier artifact is then still in place.
    """
    folder = stage_folder.commit(key)
    document = payload.model_dump(mode="json")
    manifest = Manifest(
        contract=type(payload).__name__,
        stage=envelope.stage,
        song=envelope.song,
        key=key,
        code_version=envelope.code_version,
        folder=folder.name,
        payload=document,
        payload_sha256=hash_json(document),
        files=tuple(record_file(path, base=folder, heed=heed) for path in sorted(folder.rglob("*")) if path.is_file()),
        checks=checks,
        inputs=dict(inputs),
        job_uuid=envelope.job_uuid,
        user_id=envelope.user_id,
        trace_id=envelope.trace_id,
        attempt=envelope.attempt,
        run_id=envelope.run_id,
        written_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
    kept = stage_folder.keep(manifest, heed=heed)
    stage_folder.discard_others(kept.folder)
    return kept


def read_manifest(stage_folder: StageFolder) -> Manifest:
    """Return the manifest of a stage's artifact.

    Raises:
        PermanentFailure: `ARTIFACT_MISSING`, `ARTIFACT_NEWER` or `ARTIFACT_DAMAGED`.
    """
    publication = stage_folder.publication
    if publication is not None and not stage_folder.manifest.exists():
        publication.refresh()
    return _read_local(stage_folder)


def _read_local(stage_folder: StageFolder) -> Manifest:
    path = stage_folder.manifest
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise PermanentFailure(f"{path} does not exist", code=ErrorCode.ARTIFACT_MISSING) from None
    return parse_manifest(content, where=str(path))


def load_artifact(stage_folder: StageFolder, contract: type[C], *, heed: Callable[[], None] = carry_on) -> Artifact[C]:
    """Return a stage's artifact after verifying its version, checks, payload and every file.

    `heed` is called while files are hashed; what it raises ends the work.

    Raises:
        PermanentFailure: `ARTIFACT_MISSING`, `ARTIFACT_NEWER`, `ARTIFACT_REFUSED` or `ARTIFACT_DAMAGED`.
    """
    if stage_folder.publication is not None:
        stage_folder.publication.refresh(heed=heed)
    return _load_settled(stage_folder, contract, heed=heed)


def _load_settled(stage_folder: StageFolder, contract: type[C], *, heed: Callable[[], None]) -> Artifact[C]:
    """Return the artifact of the local manifest; look again where its version is replaced while it is fetched."""
    publication = stage_folder.publication
    for _ in range(TRIES):
        try:
            return _load(stage_folder, contract, heed=heed)
        except _FileMissing:
            if publication is None:
                raise
            publication.refresh(heed=heed)
    return _load(stage_folder, contract, heed=heed)


def _load(stage_folder: StageFolder, contract: type[C], *, heed: Callable[[], None]) -> Artifact[C]:
    """Return the artifact of the local manifest, its files fetched where they are missing."""
    manifest = _read_local(stage_folder)
    failed = [check.name for check in manifest.checks if check.blocking and not check.passed]
    if failed:
        raise PermanentFailure(
            f"{manifest.stage} of {manifest.song} failed {', '.join(failed)}", code=ErrorCode.ARTIFACT_REFUSED
        )
    payload = _verified_payload(stage_folder, manifest, contract)
    publication = stage_folder.publication
    for file in manifest.files:
        try:
            _prove(stage_folder.path / manifest.folder, file, heed=heed)
        except PermanentFailure:
            if publication is None or not publication.restore(manifest, file, heed=heed):
                raise
    return Artifact(
        payload=payload, folder=stage_folder.path / manifest.folder, key=manifest.key, checks=manifest.checks
    )


class _FileMissing(PermanentFailure):
    """A file that the manifest names is not there, or was cut off."""

    code = ErrorCode.ARTIFACT_DAMAGED


def _prove(folder: Path, file: FileRecord, *, heed: Callable[[], None]) -> None:
    path = folder / file.path
    if not path.is_file() or path.stat().st_size != file.size_bytes:
        raise _FileMissing(f"{path} is missing or cut off")
    if hash_file(path, heed=heed) != file.sha256:
        raise PermanentFailure(f"{path} differs from its checksum", code=ErrorCode.ARTIFACT_DAMAGED)


def find_reusable(
    stage_folder: StageFolder, contract: type[C], *, key: str, heed: Callable[[], None] = carry_on
) -> Artifact[C] | None:
    """Return the artifact if it is the one that `key` names and is sound, else None."""
    publication = stage_folder.publication
    try:
        if publication is not None:
            publication.refresh(heed=heed)
        if _read_local(stage_folder).key != key:
            return None
        return _load_settled(stage_folder, contract, heed=heed)
    except JobCanceled:
        raise
    except PermanentFailure:
        return None


def _verified_payload(stage_folder: StageFolder, manifest: Manifest, contract: type[C]) -> C:
    if manifest.contract != contract.__name__ or hash_json(manifest.payload) != manifest.payload_sha256:
        raise PermanentFailure(
            f"{stage_folder.manifest} holds {manifest.contract} with a payload that differs from its checksum",
            code=ErrorCode.ARTIFACT_DAMAGED,
        )
    try:
        return contract.model_validate(manifest.payload)
    except ValidationError as error:
        raise PermanentFailure(
            f"{stage_folder.manifest}: {error.error_count()} fields break {contract.__name__}: {error}",
            code=ErrorCode.CONTRACT_INVALID,
        ) from error
