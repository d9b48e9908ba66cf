"""Songs, jobs, stage timings and history: the first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_ACTIVE = sa.text("state IN ('queued', 'running', 'held')")
_STATES = "state IN ('queued', 'running', 'held', 'completed', 'failed', 'canceled')"


def upgrade() -> None:
    """Create the four tables."""
    _create_songs()
    _create_jobs()
    op.create_table(
        "stage_timings",
        sa.Column("job_uuid", sa.String(36), sa.ForeignKey("jobs.job_uuid"), primary_key=True),
        sa.Column("stage", sa.String(32), primary_key=True),
        sa.Column("started_at", sa.String(32), nullable=False),
        sa.Column("ended_at", sa.String(32), nullable=True),
        sa.Column("seconds", sa.Float, nullable=True),
        sa.Column("reused", sa.Boolean(create_constraint=False), nullable=False, server_default=sa.text("false")),
    )
    op.create_table(
        "history",
        sa.Column("sequence", _SERIAL, primary_key=True, autoincrement=True),
        sa.Column("job_uuid", sa.String(36), sa.ForeignKey("jobs.job_uuid"), nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("monotonic_ns", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("from_state", sa.String(16), nullable=True),
        sa.Column("to_state", sa.String(16), nullable=False),
        sa.Column("detail", sa.Text, nullable=False, server_default=""),
    )
    op.create_index("history_job", "history", ["job_uuid", "sequence"])


def _create_songs() -> None:
    op.create_table(
        "songs",
        sa.Column("song", sa.String(64), primary_key=True),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=True, comment="NULL where the file was refused before it was read"),
        sa.Column("original_name", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("archive_path", sa.Text, nullable=False),
        sa.Column("uploaded_at", sa.String(32), nullable=False),
        sa.Column("door", sa.String(32), nullable=False),
        sa.UniqueConstraint("user_id", "sha256", name="songs_user_sha256"),
    )


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("sequence", _SERIAL, primary_key=True, autoincrement=True, comment="order of submission"),
        sa.Column("job_uuid", sa.String(36), nullable=False, unique=True),
        sa.Column("song", sa.String(64), sa.ForeignKey("songs.song"), nullable=False),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.Column("trace_id", sa.String(32), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("options", sa.JSON, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
        sa.Column("run_id", sa.String(64), nullable=True),
        sa.Column("worker_host", sa.Text, nullable=True),
        sa.Column("worker_boot_id", sa.String(36), nullable=True),
        sa.Column("worker_pid", sa.Integer, nullable=True),
        sa.Column("worker_started_ticks", sa.BigInteger, nullable=True),
        sa.Column("stage", sa.String(32), nullable=True),
        sa.Column("fraction", sa.Float, nullable=False, server_default="0"),
        sa.Column("message", sa.Text, nullable=False, server_default=""),
        sa.Column("error_code", sa.String(64), nullable=True),
        sa.Column("error_detail", sa.Text, nullable=True),
        sa.Column("error_remedy", sa.Text, nullable=True),
        sa.Column("error_stage", sa.String(32), nullable=True),
        sa.Column(
            "cancel_requested", sa.Boolean(create_constraint=False), nullable=False, server_default=sa.text("false")
        ),
        sa.Column("crashes", sa.Integer, nullable=False, server_default="0"),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("updated_at", sa.String(32), nullable=False),
        sa.Column("dispatched_at", sa.String(32), nullable=True),
        sa.Column("started_at", sa.String(32), nullable=True),
        sa.CheckConstraint(_STATES, name="jobs_state"),
        sa.UniqueConstraint("song", "attempt", name="jobs_song_attempt"),
    )
    op.create_index(
        "jobs_one_active_per_song", "jobs", ["song"], unique=True, sqlite_where=_ACTIVE, postgresql_where=_ACTIVE
    )
    op.create_index("jobs_queue", "jobs", ["state", "dispatched_at", "priority", "sequence"])
    op.create_index("jobs_user", "jobs", ["user_id", "sequence"])
    op.create_index("jobs_run", "jobs", ["run_id"])


def downgrade() -> None:
    """Drop everything the ledger knows."""
    for table in ("history", "stage_timings", "jobs", "songs"):
        op.drop_table(table)
