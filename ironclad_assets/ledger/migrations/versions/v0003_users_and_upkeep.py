"""Users and their limits, pauses, retries with a pause, audit, what is stored, and what was deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TABLES = (
    "users", "terms_acceptances", "limits", "pauses", "audit", "stored_artifacts", "deletions", "tombstones",
)  # fmt: skip


def _new_columns() -> dict[str, tuple[sa.Column[object], ...]]:
    """Return what is new in each table; a column object can be used once."""
    return {
        "songs": (
            sa.Column("duration_s", sa.Float, nullable=True, comment="NULL until the file was decoded"),
            sa.Column(
                "expected_s", sa.Float, nullable=False, server_default="0", comment="length as its size suggests"
            ),
        ),
        "jobs": (
            sa.Column("request_id", sa.String(64), nullable=True),
            sa.Column("not_before", sa.String(32), nullable=True, comment="no run before this time"),
            sa.Column(
                "failures", sa.Integer, nullable=False, server_default="0", comment="that may pass by themselves"
            ),
            sa.Column("replay_from", sa.String(32), nullable=True, comment="stage from which nothing is reused"),
        ),
        "history": (sa.Column("request_id", sa.String(64), nullable=True),),
    }


def upgrade() -> None:
    """Add the columns and tables."""
    for table, columns in _new_columns().items():
        for column in columns:
            op.add_column(table, column)
    op.create_index("songs_user_uploaded", "songs", ["user_id", "uploaded_at"])
    op.create_index("jobs_started", "jobs", ["started_at"])
    _create_users()
    _create_control()
    _create_deletion()
    _carry_users_over()


def _create_users() -> None:
    op.create_table(
        "users",
        sa.Column("user_id", sa.String(64), primary_key=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("disabled", sa.Boolean(create_constraint=False), nullable=False, server_default=sa.text("false")),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("stored_bytes", sa.BigInteger, nullable=False, server_default="0", comment="sum of stored_artifacts"),
    )
    op.create_table(
        "terms_acceptances",
        sa.Column("user_id", sa.String(64), primary_key=True),
        sa.Column("version", sa.String(64), primary_key=True),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("request_id", sa.String(64), nullable=True),
    )
    op.create_table(
        "limits",
        sa.Column("scope", sa.String(16), primary_key=True, comment="system, role or user"),
        sa.Column("subject", sa.String(64), primary_key=True, comment="role or user; empty for the system"),
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.JSON(none_as_null=False), nullable=False, comment="null means: none"),
        sa.Column("updated_at", sa.String(32), nullable=False),
    )


def _create_control() -> None:
    op.create_table(
        "pauses",
        sa.Column("kind", sa.String(16), primary_key=True, comment="all, stage, engine or user"),
        sa.Column("subject", sa.String(64), primary_key=True, comment="empty for all"),
        sa.Column("since", sa.String(32), nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("request_id", sa.String(64), nullable=True),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
    )
    op.create_table(
        "audit",
        sa.Column("sequence", _SERIAL, primary_key=True, autoincrement=True),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("monotonic_ns", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("request_id", sa.String(64), nullable=True),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("object", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False, server_default=""),
    )
    op.create_table(
        "stored_artifacts",
        sa.Column("song", sa.String(64), sa.ForeignKey("songs.song"), primary_key=True),
        sa.Column("stage", sa.String(32), primary_key=True, comment="or original"),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("written_at", sa.String(32), nullable=False),
    )


def _create_deletion() -> None:
    op.create_table(
        "deletions",
        sa.Column("receipt", sa.String(36), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False, comment="song or user"),
        sa.Column("subject", sa.String(64), nullable=True, comment="NULL once nothing of it is left"),
        sa.Column("state", sa.String(16), nullable=False, comment="requested or done"),
        sa.Column("requested_at", sa.String(32), nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("request_id", sa.String(64), nullable=True),
        sa.Column("completed_at", sa.String(32), nullable=True),
        sa.Column("removed", sa.JSON(none_as_null=True), nullable=True, comment="what went, counted by kind"),
    )
    op.create_table(
        "tombstones",
        sa.Column("digest", sa.String(64), primary_key=True, comment="SHA-256 of what must not come back"),
        sa.Column("kind", sa.String(16), nullable=False, comment="song or user"),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("receipt", sa.String(36), nullable=False),
    )


def _carry_users_over() -> None:
    """Make a user of everybody who has songs, and count their originals as stored."""
    op.execute(
        "INSERT INTO stored_artifacts (song, stage, size_bytes, written_at) "
        "SELECT song, 'original', size_bytes, uploaded_at FROM songs WHERE sha256 IS NOT NULL"
    )
    op.execute(
        "INSERT INTO users (user_id, role, created_at, stored_bytes) "
        "SELECT user_id, 'member', MIN(uploaded_at), "
        "COALESCE(SUM(CASE WHEN sha256 IS NULL THEN 0 ELSE size_bytes END), 0) FROM songs GROUP BY user_id"
    )


def downgrade() -> None:
    """Take them away again; jobs, songs and history stay."""
    for table in reversed(_TABLES):
        op.drop_table(table)
    op.drop_index("jobs_started", table_name="jobs")
    op.drop_index("songs_user_uploaded", table_name="songs")
    for table, columns in _new_columns().items():
        for column in columns:
            op.drop_column(table, column.name)
