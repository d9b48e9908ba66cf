"""Rates and progress that several machines share through Redis, where one is configured (SUPPORT-002).

Redis is a help, never a need: while it is away every question here is answered with None, once with a warning, and
the ledger's own counting and columns serve. Nothing is imported for it unless it is configured.
"""

import importlib
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, cast

from ironclad_assets.contracts.v1.job import Job, JobState
from ironclad_assets.ledger.progress import estimate_rest_s

AWAY_S = 5.0
"""How long Redis is left alone after it did not answer."""

NOBODY = "nobody"
"""A job that there is not: asked for to hear whether Redis answers."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one more is within a rate; if not, the seconds until it is worth trying again."""

    allowed: bool
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class LiveProgress:
    """Where a running job is: `fraction` (0..1) is of the whole song, `updated_at` UTC in ISO 8601."""

    stage: str
    fraction: float
    message: str
    updated_at: str


class SharedState(Protocol):
    """What Redis does; every method raises `AwayError` where it does not answer."""

    def hit(self, name: str, *, per_minute: int) -> Verdict:
        """Count one more of `name` unless `per_minute` were counted within the last 60 seconds."""
        ...

    def put_progress(self, job_uuid: str, progress: LiveProgress) -> None:
        """Keep the progress of a job for a while."""
        ...

    def read_progress(self, job_uuids: list[str]) -> dict[str, LiveProgress]:
        """Return what is known of these jobs."""
        ...


class AwayError(Exception):
    """Redis does not answer."""


class Live:
    """The shared state of one installation, or its absence."""

    def __init__(self, url: str | None) -> None:
        self._url = url
        self._state: SharedState | None = None
        self._away_until_s = 0.0
        self._warned = False

    @property
    def configured(self) -> bool:
        """Whether rates and progress are to be shared."""
        return self._url is not None

    def describe(self) -> str:
        """Ask now; return for people whether rates and progress are shared; a warning where they are not."""
        self._away_until_s = 0.0
        state = self._open()
        if state is not None:
            try:
                state.read_progress([NOBODY])
            except AwayError as error:
                self._give_up(str(error))
            else:
                return "rates and progress are shared"
        return "warning: away; the ledger counts and keeps progress meanwhile"

    def hit(self, name: str, *, per_minute: int) -> Verdict | None:
        """Count one more of `name`; None where the ledger must count."""
        state = self._open()
        if state is None:
            return None
        try:
            verdict = state.hit(name, per_minute=per_minute)
        except AwayError as error:
            self._give_up(str(error))
            return None
        self._warned = False
        return verdict

    def put_progress(self, job_uuid: str, progress: LiveProgress) -> bool:
        """Keep the progress of a job; False where the ledger must."""
        state = self._open()
        if state is None:
            return False
        try:
            state.put_progress(job_uuid, progress)
        except AwayError as error:
            self._give_up(str(error))
            return False
        self._warned = False
        return True

    def overlay(self, jobs: Iterable[Job]) -> list[Job]:
        """Return the jobs, those that run with what is newer here than in the ledger."""
        found = list(jobs)
        running = [job.job_uuid for job in found if job.state is JobState.RUNNING]
        state = self._open() if running else None
        if state is None:
            return found
        try:
            known = state.read_progress(running)
        except AwayError as error:
            self._give_up(str(error))
            return found
        return [_newer(job, known[job.job_uuid]) if job.job_uuid in known else job for job in found]

    def _open(self) -> SharedState | None:
        if self._url is None or time.monotonic() < self._away_until_s:
            return None
        if self._state is None:
            try:
                module = importlib.import_module("ironclad_assets.ledger.redis_state")
            except ImportError as error:
                self._give_up(f"{error.name} is not installed: pip install -r constraints/redis.txt")
                return None
            self._state = cast("SharedState", module.RedisState(self._url))
        return self._state

    def _give_up(self, why: str) -> None:
        self._away_until_s = time.monotonic() + AWAY_S
        if not self._warned:
            self._warned = True
            logger.warning("redis is away, the ledger serves instead: %s", why)


def _newer(job: Job, live: LiveProgress) -> Job:
    """Return `job` with its progress, unless the ledger's is newer (a stage ended, or another attempt began)."""
    if job.state is not JobState.RUNNING or live.updated_at <= job.updated_at:
        return job
    began = min((stage.started_at for stage in job.stages), default=None)
    return job.model_copy(
        update={
            "stage": live.stage,
            "fraction": live.fraction,
            "message": live.message,
            "updated_at": live.updated_at,
            "eta_s": estimate_rest_s(began, updated_at=live.updated_at, fraction=live.fraction),
        }
    )
