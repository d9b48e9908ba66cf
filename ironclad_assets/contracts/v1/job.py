"""A job as everybody outside the ledger sees it: state, progress, error, history."""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from ironclad_assets.contracts.v1.base import Contract, Song, UserId
from ironclad_assets.contracts.v1.options import JobOptions


class JobState(StrEnum):
    """The states of a job (JOB-001)."""

    QUEUED = "queued"
    RUNNING = "running"
    HELD = "held"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def active(self) -> bool:
        """Whether the song may get no other job."""
        return self in (JobState.QUEUED, JobState.RUNNING, JobState.HELD)


STAGES = (
    "validated_file",
    "song_metadata",
    "staged_chunks",
    "stems",
    "recombined_track",
    "library_entry",
)
"""The stages in the order a song passes them."""

StageName = Literal["validated_file", "song_metadata", "staged_chunks", "stems", "recombined_track", "library_entry"]


class SongIdentity(Contract):
    """A song as the ledger knows it. `archive_path` is relative to the store's root.

    `duration_s` is None until the file was decoded; `expected_s` is what its size and type suggest.
    """

    song: Song
    user_id: UserId
    original_name: str
    sha256: str
    size_bytes: int = Field(ge=0)
    archive_path: str
    uploaded_at: str
    door: str
    duration_s: float | None = Field(default=None, ge=0)
    expected_s: float = Field(default=0.0, ge=0)


class StageTiming(Contract):
    """When a stage of a job ran; times are UTC, ISO 8601."""

    stage: StageName
    started_at: str
    ended_at: str | None = None
    seconds: float | None = None
    reused: bool = False


class JobError(Contract):
    """Why a job failed or is held."""

    code: str
    detail: str
    remedy: str
    stage: str | None = None


class Job(Contract):
    """One attempt of a user's request about a song.

    `options` is what was asked for; `resolved` the same with every default filled in, as the job's run chose
    them when it began (None before that). `failures` counts those that may pass by themselves; after one the job
    waits until `not_before`. From the stage `replay_from` on nothing of an earlier job is reused.
    """

    job_uuid: str
    song: Song
    user_id: UserId
    trace_id: str
    attempt: int = Field(ge=1)
    state: JobState
    options: JobOptions
    resolved: JobOptions | None = None
    priority: int = 0
    original_name: str
    run_id: str | None = None
    stage: str | None = None
    fraction: float = Field(default=0.0, ge=0.0, le=1.0)
    message: str = ""
    eta_s: float | None = None
    error: JobError | None = None
    cancel_requested: bool = False
    crashes: int = 0
    failures: int = 0
    not_before: str | None = None
    replay_from: str | None = None
    request_id: str | None = None
    created_at: str
    updated_at: str
    stages: tuple[StageTiming, ...] = ()


class HistoryEntry(Contract):
    """One line of a job's append-only history."""

    at: str
    monotonic_ns: int
    actor: str
    from_state: JobState | None
    to_state: JobState
    detail: str = ""
    request_id: str | None = None
