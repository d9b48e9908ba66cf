"""What becomes of jobs after a restore: those that ran wait again, complete songs get their library files back.

Bringing back files and rows is `restore`'s.
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ironclad_assets.contracts.v1.job import Job, JobState
from ironclad_assets.contracts.v1.library_entry import LibraryEntry
from ironclad_assets.errors import IroncladError
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.storage.artifacts import read_manifest
from ironclad_assets.storage.store import Store

ACTOR = "restore"
AT_ONCE = 500


def queue_again(ledger: Ledger) -> int:
    """Queue the jobs that were running when the backup was made; their processes are gone. Return how many."""
    count = 0
    for job, _ in ledger.running_jobs():
        ledger.requeue_interrupted(job.job_uuid, actor=ACTOR)
        count += 1
    return count


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How many songs are made again, and which cannot be, for their original is not there."""

    queued: int
    lost: tuple[str, ...]


def rebuild_library(ledger: Ledger, store: Store) -> Rebuilt:
    """Queue a new attempt for every complete song whose files are not in the library.

    A song whose artifacts are here is only filed again; else it is made again, from its original, with its options.
    A later attempt that failed or was canceled had left the files in the library, and takes none of that away.
    """
    count, line, lost = 0, 0, []
    while found := ledger.completions(after=line, limit=AT_ONCE):
        line = found[-1][0]
        for _, job in found:
            if not _is_last_word(ledger, job):
                continue
            if _stands(store, job.song) or ledger.deletions.is_deleted(job.song):
                continue
            if not _has_original(store, ledger.song(job.song).archive_path):
                lost.append(job.song)
                continue
            ledger.retry(job.job_uuid, actor=ACTOR)
            count += 1
    return Rebuilt(count, tuple(lost))


def _is_last_word(ledger: Ledger, job: Job) -> bool:
    """Return whether the song is in the library by this job, and no other is going to put it there."""
    attempts = ledger.jobs_of(job.song)
    completed = [one.job_uuid for one in attempts if one.state is JobState.COMPLETED]
    return completed[-1:] == [job.job_uuid] and not attempts[-1].state.active


def _stands(store: Store, song: str) -> bool:
    """Return whether everything that the song's entry names is in the library, as far as sizes tell."""
    try:
        manifest = read_manifest(store.stage("library_entry", song))
        entry = LibraryEntry.model_validate(manifest.payload)
    except (IroncladError, ValidationError):
        return False
    return all(_has_size(store.library(item.root) / item.file.path, item.file.size_bytes) for item in entry.files)


def _has_original(store: Store, archive_path: str) -> bool:
    mirror = store.mirror
    return store.path(archive_path).is_file() or (mirror is not None and mirror.objects.head(archive_path) is not None)


def _has_size(path: Path, size_bytes: int) -> bool:
    try:
        return path.stat().st_size == size_bytes
    except OSError:
        return False
