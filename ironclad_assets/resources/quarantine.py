"""Quarantine: what a permanently failed job leaves in ``error/<song>/`` for its owner and the operator."""

import json
import os
from contextlib import suppress
from datetime import UTC, datetime

from ironclad_assets.contracts.v1.job import Job, SongIdentity
from ironclad_assets.errors import ErrorCode, IroncladError
from ironclad_assets.storage import atomic
from ironclad_assets.storage.sealed import seal
from ironclad_assets.storage.store import Store

_OWNER_ONLY_FOLDER = 0o700
_OWNER_ONLY = 0o600
_READ_ONLY = 0o444


def quarantine_song(store: Store, *, song: SongIdentity, job: Job, stage: str, error: IroncladError) -> None:
    """Write ``error.json`` with code and trace, and link the original beside it.

    The original stays in the archive too, so that a retry finds it; malware can be read by the pipeline's user
    alone from then on, and so can everything in the folder. A store that cannot be written does not hide the
    error that is being reported.
    """
    folder = store.quarantine(job.song)
    with suppress(OSError, IroncladError):
        atomic.make_folder(folder)
        folder.chmod(_OWNER_ONLY_FOLDER)
        atomic.write_json(
            folder / "error.json",
            seal(
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
                    "staged": _staged(store, song=job.song),
                    "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                }
            ),
        )
        store.publish(f"error/{job.song}/error.json")
        if not (folder / "original").exists():
            os.link(store.path(song.archive_path), folder / "original")
    if error.code is ErrorCode.MALWARE:
        with suppress(OSError, IroncladError):
            store.path(song.archive_path).chmod(_OWNER_ONLY)  # of the link in the quarantine too: they are one file


def unlock_original(store: Store, *, song: SongIdentity) -> None:
    """Give back an original that was taken for malware once, and is clean, the permissions of any other."""
    original = store.path(song.archive_path)
    if original.stat().st_mode & 0o777 == _OWNER_ONLY:
        original.chmod(_READ_ONLY)


def is_locked(store: Store, *, song: SongIdentity) -> bool:
    """Return whether the original was found to be malware and nothing has said otherwise since."""
    if store.path(song.archive_path).stat().st_mode & 0o777 == _OWNER_ONLY:
        return True
    store.fetch_folder(f"error/{song.song}")
    try:
        document = json.loads((store.quarantine(song.song) / "error.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and document.get("code") == ErrorCode.MALWARE.code


def release_song(store: Store, song: str) -> None:
    """Remove what an earlier failed attempt left in quarantine, now that the song is in the library."""
    with suppress(OSError, IroncladError):
        store.discard(f"error/{song}")


def _staged(store: Store, *, song: str) -> list[str]:
    """Return the folders of what was made for a song so far: a retry goes on with it, a sweep lets go of it later."""
    stages = store.root / "stages"
    return sorted(path.relative_to(store.root).as_posix() for path in stages.glob(f"*/{song}/*") if path.is_dir())
