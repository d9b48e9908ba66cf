"""The ledger: who asked for what, in which state it is, and what happened (decision 1 of the design).

What users, operators and the dispatcher change is here; what runs write is in `runs`, what can be asked in
`reads`, what users want by default in `defaults`. Each change is one transaction, checked against the state
machine and written to the history.
"""

from collections.abc import Iterable
from functools import cached_property

from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from ironclad_assets.contracts.v1.job import Job, JobError, JobState, SongIdentity
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import ErrorCode, failure
from ironclad_assets.ledger import schema
from ironclad_assets.ledger.admission import Admission
from ironclad_assets.ledger.again import Again
from ironclad_assets.ledger.attempts import Attempts
from ironclad_assets.ledger.audit import Audit
from ironclad_assets.ledger.changes import add_attempt, change_state, lock_ending_job, next_attempt
from ironclad_assets.ledger.defaults import Defaults
from ironclad_assets.ledger.deletions import Deletions
from ironclad_assets.ledger.dump import LedgerDump
from ironclad_assets.ledger.limits import Limits
from ironclad_assets.ledger.live import Live, LiveProgress
from ironclad_assets.ledger.pauses import Pauses
from ironclad_assets.ledger.progress import overall_fraction
from ironclad_assets.ledger.queue import Queue, note_lost
from ironclad_assets.ledger.reads import active_job, lock_jobs, require_job, require_song
from ironclad_assets.ledger.registration import Newcomer, Registration, find_registration, register_song
from ironclad_assets.ledger.reservations import Reservations
from ironclad_assets.ledger.rows import (
    NO_ERROR,
    error_values,
    utc_now,
)
from ironclad_assets.ledger.rules import Rules
from ironclad_assets.ledger.runs import UNBOUND, RunWrites
from ironclad_assets.ledger.sweeps import Sweeps
from ironclad_assets.ledger.tables import jobs
from ironclad_assets.ledger.terms import Terms, hold_for_terms
from ironclad_assets.ledger.usage import Accounts
from ironclad_assets.ledger.users import Users


class Ledger(RunWrites, Defaults):
    """One ledger, named by a SQLAlchemy URL. Cheap to make: nothing is opened before it is used.

    Safe to share between threads; after a fork the child opens connections of its own.
    """

    def __init__(self, url: str, *, rules: Rules | None = None) -> None:
        """Name the ledger at `url`; `rules` are what the installation's settings say about users."""
        super().__init__(url)
        self.rules = rules or Rules()

    @cached_property
    def audit(self) -> Audit:
        """Who did what to the installation."""
        return Audit(self._database)

    @cached_property
    def pauses(self) -> Pauses:
        """What operators stopped for a while."""
        return Pauses(self._database)

    @cached_property
    def queue(self) -> Queue:
        """Which jobs come next, and why others wait."""
        return Queue(self._database, rules=self.rules)

    @cached_property
    def attempts(self) -> Attempts:
        """Further attempts of jobs that failed for now or were held."""
        return Attempts(self._database, policy=self.rules.retries)

    @cached_property
    def again(self) -> Again:
        """Which songs shall be worked on again, many at once."""
        return Again(self._database)

    @cached_property
    def limits(self) -> Limits:
        """What users, roles and the installation may use."""
        return Limits(self._database, rules=self.rules)

    @cached_property
    def users(self) -> Users:
        """Who may hand in songs, and as what."""
        return Users(self._database, rules=self.rules)

    @cached_property
    def terms(self) -> Terms:
        """Who accepted which terms."""
        return Terms(self._database, rules=self.rules)

    @cached_property
    def usage(self) -> Accounts:
        """What users use of what is limited."""
        return Accounts(self._database)

    @cached_property
    def admission(self) -> Admission:
        """Whether a song may come in, as far as can be said before it does."""
        return Admission(self._database, rules=self.rules, live=self.live)

    @cached_property
    def reservations(self) -> Reservations:
        """Room that runs take under the quotas before they write."""
        return Reservations(self._database, rules=self.rules)

    @cached_property
    def live(self) -> Live:
        """What is shared through Redis, where one is configured."""
        return Live(self.rules.redis_url)

    def with_progress(self, found: list[Job]) -> list[Job]:
        """Return the jobs, those that run with what is newer in Redis."""
        return self.live.overlay(found)

    def report_progress(self, job_uuid: str, *, stage: str, fraction: float, message: str) -> None:
        """Note that `fraction` (0..1) of `stage` is done: in Redis if there is one, else here."""
        overall = overall_fraction(stage, fraction=fraction)
        live = LiveProgress(stage=stage, fraction=overall, message=message, updated_at=utc_now())
        if not self.live.put_progress(job_uuid, live):
            super().report_progress(job_uuid, stage=stage, fraction=fraction, message=message)

    @cached_property
    def dump(self) -> LedgerDump:
        """The whole ledger as lines of JSON."""
        return LedgerDump(self._database)

    @cached_property
    def deletions(self) -> Deletions:
        """What was, or is to be, deleted."""
        return Deletions(self._database)

    @property
    def place(self) -> str:
        """Where the ledger is, without a password."""
        return self._database.place

    @cached_property
    def sweeps(self) -> Sweeps:
        """What cleaning up asks."""
        return Sweeps(self._database)

    def migrate(self, *, to: str = schema.HEAD) -> None:
        """Create the ledger, or bring it to this release's schema, or to an earlier one."""
        schema.migrate(self._database, to=to)

    def check_schema(self) -> None:
        """Raise `SCHEMA_MISMATCH` unless the ledger has this release's schema."""
        schema.check_schema(self._database)

    def register(
        self,
        song: SongIdentity,
        options: JobOptions,
        *,
        actor: str,
        error: JobError | None = None,
        priority: int = 0,
        kept_bytes: int = 0,
    ) -> Registration:
        """Write a song and its first job, together, or return what an earlier upload of the same bytes made.

        Args:
            song: the song; an empty `sha256` means that the file was refused before it was read.
            options: what its user asked for.
            actor: who did this, for the history.
            error: the reason of a refusal; the job is then failed from the start.
            priority: larger goes first.
            kept_bytes: what a refused file occupies in the quarantine; its user's quota has room for it.

        Raises:
            Refusal: the user is not served (`UNKNOWN_USER`, `USER_DISABLED`), or a limit is reached
                (`QUOTA_EXCEEDED`, `DAILY_LIMIT`, `RATE_LIMITED`); nothing was written.
        """
        rate_counted = self.admission.count_rate(song.user_id, refused=error is not None)
        newcomer = Newcomer(song, options, actor, error=error, priority=priority, kept_bytes=kept_bytes)
        try:
            with self._database.write() as connection:
                return register_song(connection, newcomer, rules=self.rules, rate_counted=rate_counted)
        except IntegrityError:  # another process was first, where the database lets writers run side by side
            with self._database.read() as connection:
                known = find_registration(connection, song)
            if known is None:
                raise
            return known

    def dispatchable(self, *, limit: int) -> list[Job]:
        """Return queued jobs that no run was asked for, in the order in which they deserve one."""
        return self.queue.next_jobs(limit=limit)

    def mark_dispatched(self, job_uuids: Iterable[str]) -> None:
        """Note that a run was asked for each of these jobs."""
        asked = list(job_uuids)
        if not asked:
            return  # the watcher asks on every look; nothing to note is no reason to take the write lock
        now = utc_now()
        chosen = jobs.c.job_uuid.in_(asked) & (jobs.c.state == JobState.QUEUED.value)
        with self._database.write() as connection:
            lock_jobs(connection, asked)
            connection.execute(update(jobs).where(chosen).values(dispatched_at=now, updated_at=now))

    def undispatch(self, job_uuid: str) -> None:
        """Note that the run asked for this queued job was never made, so that it is asked for again.

        The attempt stays, so that asking twice for the same run makes one. The history says it once, however often
        it comes to nothing. Where a run was made and died before it began, `requeue_crashed` is right.
        """
        with self._database.write() as connection:
            job = require_job(connection, job_uuid, lock=True)
            if job.state is not JobState.QUEUED:
                raise failure(ErrorCode.ILLEGAL_TRANSITION, f"job {job_uuid} is {job.state} and waits for no run")
            values = {"dispatched_at": None, "updated_at": utc_now()}
            connection.execute(update(jobs).where(jobs.c.job_uuid == job_uuid).values(values))
            note_lost(connection, job)

    def hold(self, job_uuid: str, error: JobError, *, actor: str) -> Job:
        """Put a queued or running job aside until what `error` names has passed; one to be canceled is canceled."""
        with self._database.write() as connection:
            job = lock_ending_job(connection, job_uuid)
            if job.cancel_requested:
                return change_state(connection, job, to=JobState.CANCELED, actor=actor, values={})
            detail = f"{error.code}: {error.detail}"
            return change_state(
                connection, job, to=JobState.HELD, actor=actor, values=error_values(error), detail=detail
            )

    def release(self, job_uuid: str, *, actor: str) -> Job:
        """Queue a held job again, as a new attempt if it had a run."""
        with self._database.write() as connection:
            job = require_job(connection, job_uuid, lock=True)
            if job.state is not JobState.HELD:
                raise failure(ErrorCode.ILLEGAL_TRANSITION, f"job {job_uuid} is {job.state}, not held")
            values = {**UNBOUND, **NO_ERROR, "attempt": next_attempt(connection, job.song)}
            return change_state(connection, job, to=JobState.QUEUED, actor=actor, values=values)

    def request_cancel(self, job_uuid: str, *, actor: str) -> Job:
        """Cancel a job that waits; ask a running one to stop.

        Raises:
            PermanentFailure: with `ILLEGAL_TRANSITION` where the job has ended.
        """
        with self._database.write() as connection:
            job = require_job(connection, job_uuid, lock=True)
            if job.state is not JobState.RUNNING:
                return change_state(
                    connection, job, to=JobState.CANCELED, actor=actor, values={"cancel_requested": True}
                )
            if job.cancel_requested:
                return job
            detail = "cancel requested"
            return change_state(
                connection, job, to=JobState.RUNNING, actor=actor, values={"cancel_requested": True}, detail=detail
            )

    def retry(
        self,
        job_uuid: str,
        *,
        actor: str,
        options: JobOptions | None = None,
        replay_from: str | None = None,
        detail: str = "",
    ) -> Job:
        """Queue a new attempt for the song of a job that ended, with `options` or those of that job.

        Args:
            job_uuid: the job.
            actor: who did this, for the history.
            options: what to ask for instead.
            replay_from: stage from which on nothing that an earlier job made is used again.
            detail: why, for the history.

        Raises:
            PermanentFailure: with `JOB_ACTIVE` while the song has an active job, or with the reason for
                which the file was not taken in.
        """
        with self._database.write() as connection:
            job = require_job(connection, job_uuid)
            require_song(connection, job.song, lock=True)
            active = active_job(connection, job.song)
            if active is not None:
                raise failure(ErrorCode.JOB_ACTIVE, f"song {job.song} has job {active.job_uuid}, {active.state}")
            added = add_attempt(
                connection,
                job.song,
                options=options or job.options,
                state=JobState.QUEUED,
                actor=actor,
                replay_from=replay_from,
                detail=detail,
            )
            return hold_for_terms(connection, added, rules=self.rules)
