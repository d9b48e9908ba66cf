"""Registering a song: its row, its first job, and the decision that it may come in, in one transaction.

The same bytes of the same user make one song, however often and by however many doors they come. What a file must
be like to be registered is the business of `intake`.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from ironclad_assets.contracts.v1.job import Job, JobError, JobState, SongIdentity
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.ledger.admission import admit, admit_refused
from ironclad_assets.ledger.changes import insert_job
from ironclad_assets.ledger.reads import find_song, latest_job
from ironclad_assets.ledger.rows import error_values, new_job_values, song_values, write_history
from ironclad_assets.ledger.rules import Rules
from ironclad_assets.ledger.sweeps import take_original_turn
from ironclad_assets.ledger.tables import songs
from ironclad_assets.ledger.terms import hold_for_terms
from ironclad_assets.ledger.usage import ORIGINAL, QUARANTINE, record_stored, stored_bytes
from ironclad_assets.ledger.users import take_user_turn


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A song that shall be registered: who did it, and for a refused file, why.

    An empty `sha256` of the song means that the file was refused before it was read; `kept_bytes` is what it occupies
    in the quarantine.
    """

    song: SongIdentity
    options: JobOptions
    actor: str
    error: JobError | None = None
    priority: int = 0
    kept_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Registration:
    """What became of an upload: its job, or, for a duplicate, the job of the song that was there before.

    `warnings` tell of limits that are nearly reached.
    """

    job: Job
    duplicate: bool
    warnings: tuple[str, ...] = ()


def register_song(connection: Connection, new: Newcomer, *, rules: Rules, rate_counted: bool) -> Registration:
    """Write a song and its first job, or return what an earlier upload of the same bytes made.

    Raises:
        Refusal: see `admission.admit`; for a refused file `admission.admit_refused`.
    """
    song, error = new.song, new.error
    if error is None:
        take_original_turn(connection, song.archive_path)
    earlier = _keep_earlier(connection, song)  # first, as everywhere: then the user's turn
    take_user_turn(connection, song.user_id)
    known = find_registration(connection, song)
    if known is not None:
        if earlier is not None and error is None and not stored_bytes(connection, earlier, ORIGINAL):
            record_stored(connection, earlier, ORIGINAL, size_bytes=song.size_bytes)  # it had been discarded
        return known
    warnings = _admit(connection, new, rules=rules, rate_counted=rate_counted)
    state = JobState.QUEUED if error is None else JobState.FAILED
    values = new_job_values(song, options=new.options, attempt=1, state=state, priority=new.priority)
    connection.execute(insert(songs).values(song_values(song)))
    detail = f"{song.door}: {error.code if error else song.original_name}"
    job = insert_job(connection, {**values, **error_values(error)}, actor=new.actor, detail=detail)
    if error is None:
        record_stored(connection, song.song, ORIGINAL, size_bytes=song.size_bytes)
        for line in warnings:
            write_history(connection, job.job_uuid, actor=new.actor, before=state, after=state, detail=line)
        job = hold_for_terms(connection, job, rules=rules)
    elif new.kept_bytes:
        record_stored(connection, song.song, QUARANTINE, size_bytes=new.kept_bytes)
    return Registration(job=job, duplicate=False, warnings=warnings)


def find_registration(connection: Connection, song: SongIdentity) -> Registration | None:
    """Return what an earlier upload of the same bytes by the same user, or of the same refusal, made."""
    if not song.sha256:  # a refusal: its id follows from the file
        job = latest_job(connection, song.song)
    else:
        known = find_song(connection, song.user_id, sha256=song.sha256)
        job = None if known is None else latest_job(connection, known.song)
    return None if job is None else Registration(job=job, duplicate=True)


def _keep_earlier(connection: Connection, song: SongIdentity) -> str | None:
    """Return the song that an earlier upload of the same bytes made, and keep its row; None where there is none."""
    same = (songs.c.user_id == song.user_id) & (songs.c.sha256 == song.sha256)
    chosen = select(songs.c.song).where(same).with_for_update(read=True, key_share=True)
    return connection.execute(chosen).scalar() if song.sha256 else None


def _admit(connection: Connection, new: Newcomer, *, rules: Rules, rate_counted: bool) -> tuple[str, ...]:
    """Raise where the song may not come in; a refused file only for its user's rate and for room."""
    song = new.song
    if new.error is None:
        return admit(connection, song, rules=rules, rate_counted=rate_counted)
    admit_refused(connection, song.user_id, kept_bytes=new.kept_bytes, rules=rules, rate_counted=rate_counted)
    return ()
