"""What songs that were deleted took of their user's turns, and from when their minutes count."""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TABLE = "forgotten_songs"


def upgrade() -> None:
    """Add the columns; what is there counts for turns no more, and for minutes as it did."""
    with op.batch_alter_table(_TABLE) as batch:
        batch.add_column(sa.Column("minutes_at", sa.String(32), nullable=True, comment="from when its minutes count"))
        batch.add_column(
            sa.Column("taken_in", sa.Boolean(create_constraint=False), nullable=False, server_default=sa.text("true"))
        )
        batch.add_column(sa.Column("worked_at", sa.String(32), nullable=True, comment="when work on it last began"))
        batch.add_column(sa.Column("worked_seconds", sa.Float, nullable=False, server_default="0"))
    op.execute("UPDATE forgotten_songs SET minutes_at = uploaded_at")
    with op.batch_alter_table(_TABLE) as batch:
        batch.alter_column("minutes_at", existing_type=sa.String(32), nullable=False)
    op.create_index("forgotten_songs_user_minutes", _TABLE, ["user_id", "minutes_at"])
    op.create_index("forgotten_songs_worked", _TABLE, ["worked_at"])


def downgrade() -> None:
    """Take them away; a song that was begun today counts again as if it had come then."""
    day_start = (datetime.now(UTC) - timedelta(days=1)).isoformat(timespec="microseconds")
    op.execute("DELETE FROM forgotten_songs WHERE NOT taken_in")
    begun_today = sa.text("UPDATE forgotten_songs SET uploaded_at = minutes_at WHERE uploaded_at <= :day_start")
    op.execute(begun_today.bindparams(day_start=day_start))
    op.drop_index("forgotten_songs_worked", table_name=_TABLE)
    op.drop_index("forgotten_songs_user_minutes", table_name=_TABLE)
    with op.batch_alter_table(_TABLE) as batch:
        for name in ("minutes_at", "taken_in", "worked_at", "worked_seconds"):
            batch.drop_column(name)
