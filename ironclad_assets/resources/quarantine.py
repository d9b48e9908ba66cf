"""Quarantine: what a permanently failed job leaves in ``error/<song>/`` for its owner and the operator."""

import os
import shutil
from contextlib import suppress
from datetime import UTC, datetime

from ironclad_assets.contracts.v1.job import Job, SongIdentity
from ironclad_assets.errors import IroncladError
from ironclad_assets.storage import atomic
from ironclad_assets.storage.store import Store


def quarantine_song(store: Store, *, song: SongIdentity, job: Job, stage: str, error: IroncladError) -> None:
    """Write ``error.json`` with code and trace, and link the original beside it.

    The original stays in the archive too, so that a retry finds it. A store that cannot be written does not
    hide the error that is being reported.
    """
    folder = store.quarantine(job.song)
    with suppress(OSError, IroncladError):
        atomic.make_folder(folder)
        atomic.write_json(
            folder / "error.json",
            {
                "code": error.code.code,
                "reason": error.code.facts.reason,
                "detail": error.detail,
                "remedy": error.code.facts.remedy,
                "stage": stage,
                "song": job.song,
                "original_name": song.original_name,
                "sha256": song.sha256,
                "user_id": job.user_id,
                "job_uuid": job.job_uuid,
                "trace_id": job.trace_id,
                "attempt": job.attempt,
                "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            },
        )
        if not (folder / "original").exists():
            os.link(store.path(song.archive_path), folder / "original")


def release_song(store: Store, song: str) -> None:
    """Remove what an earlier failed attempt left in quarantine, now that the song is in the library."""
    shutil.rmtree(store.quarantine(song), ignore_errors=True)
