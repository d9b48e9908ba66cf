"""Refusing a dropped file before it is read: out of the way, with its reason, and never twice.

The job row comes first, then the reason beside the quarantined file, then the file; each step can be repeated,
and the song's id follows from the file, so that a crash between two of them is mended by doing all again.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

from ironclad_assets.contracts.v1.job import JobError, SongIdentity
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import IroncladError
from ironclad_assets.intake.names import display_name
from ironclad_assets.intake.songs import name_refusal
from ironclad_assets.intake.source import fingerprint, open_folder
from ironclad_assets.ledger.registration import Registration
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.usage import QUARANTINE
from ironclad_assets.storage import atomic
from ironclad_assets.storage.sealed import seal
from ironclad_assets.storage.sizes import occupied_bytes
from ironclad_assets.storage.store import Store

QUARANTINED = "original"


def refuse_file(
    source: Path,
    *,
    status: os.stat_result,
    error: IroncladError,
    ledger: Ledger,
    store: Store,
    user_id: str,
    options: JobOptions,
    door: str,
    actor: str,
    below: Path | None = None,
) -> Registration:
    """Move `source` to the quarantine and register a failed job that says why.

    Args:
        source: the dropped file.
        status: what was seen when it was judged; a file that differs by now is left where it is.
        error: why it is refused.
        ledger: where the failed job goes.
        store: whose quarantine is used.
        user_id: whose folder it was in.
        options: what would have been done with it.
        door: how it came.
        actor: who refuses, for the history.
        below: a folder above the file; a link in the place of a folder below that is not followed.
    """
    song = name_refusal(status, user_id=user_id)
    folder = store.quarantine(song)
    identity = SongIdentity(
        song=song,
        user_id=user_id,
        original_name=display_name(source.name),
        sha256="",
        size_bytes=status.st_size,
        archive_path=f"error/{song}/{QUARANTINED}",
        uploaded_at=datetime.now(UTC).isoformat(timespec="microseconds"),
        door=door,
    )
    reason = JobError(code=error.code.code, detail=error.detail, remedy=error.code.facts.remedy)
    kept = occupied_bytes(status)
    registration = ledger.register(identity, options, actor=actor, error=reason, kept_bytes=kept)
    atomic.make_folder(folder)
    folder.chmod(0o700)  # what is refused is for the pipeline's user alone
    atomic.write_json(
        folder / "error.json",
        seal(
            {
                **reason.model_dump(),
                "reason": error.code.facts.reason,
                "song": song,
                "original_name": identity.original_name,
                "user_id": user_id,
                "size_bytes": identity.size_bytes,
                "job_uuid": registration.job.job_uuid,
                "trace_id": registration.job.trace_id,
                "at": identity.uploaded_at,
            }
        ),
    )
    store.publish(f"error/{song}/error.json")
    if not _move(source, destination=folder / QUARANTINED, status=status, below=below):
        ledger.usage.forget(song, QUARANTINE)
    return registration


def _move(source: Path, *, destination: Path, status: os.stat_result, below: Path | None) -> bool:
    """Return whether the file is in the quarantine: not if it changed or went away before."""
    try:
        with open_folder(source.parent, below=below) as folder:
            if fingerprint(os.stat(source.name, dir_fd=folder, follow_symlinks=False)) == fingerprint(status):
                os.replace(source.name, destination, src_dir_fd=folder)
                atomic.sync_folder(destination.parent)
                os.fsync(folder)
                return True
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise atomic.storage_error(error, destination) from error
    return destination.exists()
