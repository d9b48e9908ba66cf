"""The ledger's tables: songs and jobs with their history, users and what they may, pauses, audit, deletions.

What a row means is said here once; how the tables come to be is the migrations' business, and a test keeps
both equal. Times are UTC in ISO 8601 with microseconds, so that text sorts as time does in every database.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

_SERIAL = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts rows only in an INTEGER PRIMARY KEY
_STATES = "state IN ('queued', 'running', 'held', 'completed', 'failed', 'canceled')"

songs = Table(
    "songs",
    metadata,
    Column("song", String(64), primary_key=True),
    Column("user_id", String(64), nullable=False),
    Column("sha256", String(64), nullable=True, comment="NULL where the file was refused before it was read"),
    Column("original_name", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("archive_path", Text, nullable=False),
    Column("uploaded_at", String(32), nullable=False),
    Column("door", String(32), nullable=False),
    Column("duration_s", Float, nullable=True, comment="NULL until the file was decoded"),
    Column("expected_s", Float, nullable=False, server_default="0", comment="length as its size suggests"),
    UniqueConstraint("user_id", "sha256", name="songs_user_sha256"),
    Index("songs_user_uploaded", "user_id", "uploaded_at"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("sequence", _SERIAL, primary_key=True, autoincrement=True, comment="order of submission"),
    Column("job_uuid", String(36), nullable=False, unique=True),
    Column("song", String(64), ForeignKey("songs.song"), nullable=False),
    Column("user_id", String(64), nullable=False),
    Column("trace_id", String(32), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("options", JSON, nullable=False),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("run_id", String(64), nullable=True),
    Column("worker_host", Text, nullable=True),
    Column("worker_boot_id", String(36), nullable=True),
    Column("worker_pid", Integer, nullable=True),
    Column("worker_started_ticks", BigInteger, nullable=True),
    Column("stage", String(32), nullable=True),
    Column("fraction", Float, nullable=False, server_default="0"),
    Column("message", Text, nullable=False, server_default=""),
    Column("error_code", String(64), nullable=True),
    Column("error_detail", Text, nullable=True),
    Column("error_remedy", Text, nullable=True),
    Column("error_stage", String(32), nullable=True),
    Column("cancel_requested", Boolean(create_constraint=False), nullable=False, server_default=text("false")),
    Column("crashes", Integer, nullable=False, server_default="0"),
    Column("created_at", String(32), nullable=False),
    Column("updated_at", String(32), nullable=False),
    Column("dispatched_at", String(32), nullable=True),
    Column("started_at", String(32), nullable=True),
    Column("resolved", JSON(none_as_null=True), nullable=True, comment="options with every default filled in"),
    Column("request_id", String(64), nullable=True),
    Column("not_before", String(32), nullable=True, comment="no run before this time"),
    Column("failures", Integer, nullable=False, server_default="0", comment="that may pass by themselves"),
    Column("replay_from", String(32), nullable=True, comment="stage from which nothing is reused"),
    CheckConstraint(_STATES, name="jobs_state"),
    UniqueConstraint("song", "attempt", name="jobs_song_attempt"),
    # Of active jobs alone, which only the migration says: a condition named here has every command import the dialect
    # of each database for which it is named. So these tables are never created from here.
    Index("jobs_one_active_per_song", "song", unique=True),
    Index("jobs_queue", "state", "dispatched_at", "priority", "sequence"),
    Index("jobs_user", "user_id", "sequence"),
    Index("jobs_run", "run_id"),
    Index("jobs_started", "started_at"),
)

stage_timings = Table(
    "stage_timings",
    metadata,
    Column("job_uuid", String(36), ForeignKey("jobs.job_uuid"), primary_key=True),
    Column("stage", String(32), primary_key=True),
    Column("started_at", String(32), nullable=False),
    Column("ended_at", String(32), nullable=True),
    Column("seconds", Float, nullable=True),
    Column("reused", Boolean(create_constraint=False), nullable=False, server_default=text("false")),
)

history = Table(
    "history",
    metadata,
    Column("sequence", _SERIAL, primary_key=True, autoincrement=True),
    Column("job_uuid", String(36), ForeignKey("jobs.job_uuid"), nullable=False),
    Column("at", String(32), nullable=False),
    Column("monotonic_ns", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("from_state", String(16), nullable=True),
    Column("to_state", String(16), nullable=False),
    Column("detail", Text, nullable=False, server_default=""),
    Column("request_id", String(64), nullable=True),
    Index("history_job", "job_uuid", "sequence"),
)

user_defaults = Table(
    "user_defaults",
    metadata,
    Column("user_id", String(64), primary_key=True),
    Column("options", JSON, nullable=False, comment="only those that the user set"),
    Column("updated_at", String(32), nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("user_id", String(64), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("disabled", Boolean(create_constraint=False), nullable=False, server_default=text("false")),
    Column("created_at", String(32), nullable=False),
    Column("stored_bytes", BigInteger, nullable=False, server_default="0", comment="sum of stored_artifacts"),
)

terms_acceptances = Table(
    "terms_acceptances",
    metadata,
    Column("user_id", String(64), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("at", String(32), nullable=False),
    Column("actor", Text, nullable=False),
    Column("request_id", String(64), nullable=True),
)

limits = Table(
    "limits",
    metadata,
    Column("scope", String(16), primary_key=True, comment="system, role or user"),
    Column("subject", String(64), primary_key=True, comment="role or user; empty for the system"),
    Column("name", String(32), primary_key=True),
    Column("value", JSON(none_as_null=False), nullable=False, comment="null means: none"),
    Column("updated_at", String(32), nullable=False),
)

pauses = Table(
    "pauses",
    metadata,
    Column("kind", String(16), primary_key=True, comment="all, stage, engine or user"),
    Column("subject", String(64), primary_key=True, comment="empty for all"),
    Column("since", String(32), nullable=False),
    Column("actor", Text, nullable=False),
    Column("request_id", String(64), nullable=True),
    Column("reason", Text, nullable=False, server_default=""),
)

audit = Table(
    "audit",
    metadata,
    Column("sequence", _SERIAL, primary_key=True, autoincrement=True),
    Column("at", String(32), nullable=False),
    Column("monotonic_ns", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("request_id", String(64), nullable=True),
    Column("action", String(32), nullable=False),
    Column("object", Text, nullable=False),
    Column("detail", Text, nullable=False, server_default=""),
)

forgotten_songs = Table(
    "forgotten_songs",
    metadata,
    Column("sequence", _SERIAL, primary_key=True, autoincrement=True),
    Column("user_id", String(64), nullable=False),
    Column("uploaded_at", String(32), nullable=False),
    Column("seconds", Float, nullable=False, comment="of audio, as limits of a day count it"),
    Column("minutes_at", String(32), nullable=False, comment="from when its minutes count"),
    Column("taken_in", Boolean(create_constraint=False), nullable=False, server_default=text("true")),
    Column("worked_at", String(32), nullable=True, comment="when work on it last began"),
    Column("worked_seconds", Float, nullable=False, server_default="0"),
    Index("forgotten_songs_user_uploaded", "user_id", "uploaded_at"),
    Index("forgotten_songs_user_minutes", "user_id", "minutes_at"),
    Index("forgotten_songs_worked", "worked_at"),
    comment="what was deleted within a day of its upload: who hands in and deletes has had his share all the same",
)
stored_artifacts = Table(
    "stored_artifacts",
    metadata,
    Column("song", String(64), ForeignKey("songs.song"), primary_key=True),
    Column("stage", String(32), primary_key=True, comment="or original"),
    Column("size_bytes", BigInteger, nullable=False),
    Column("written_at", String(32), nullable=False),
)

deletions = Table(
    "deletions",
    metadata,
    Column("receipt", String(36), primary_key=True),
    Column("kind", String(16), nullable=False, comment="song or user"),
    Column("subject", String(64), nullable=True, comment="NULL once nothing of it is left"),
    Column("state", String(16), nullable=False, comment="requested or done"),
    Column("requested_at", String(32), nullable=False),
    Column("actor", Text, nullable=False),
    Column("request_id", String(64), nullable=True),
    Column("completed_at", String(32), nullable=True),
    Column("removed", JSON(none_as_null=True), nullable=True, comment="what went, counted by kind"),
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("digest", String(64), primary_key=True, comment="SHA-256 of what must not come back"),
    Column("kind", String(16), nullable=False, comment="song or user"),
    Column("at", String(32), nullable=False),
    Column("receipt", String(36), nullable=False),
)
