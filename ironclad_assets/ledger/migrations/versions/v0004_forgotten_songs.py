"""Shares of a day that songs had which were deleted within it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "forgotten_songs",
        sa.Column("sequence", _SERIAL, primary_key=True, autoincrement=True),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.Column("uploaded_at", sa.String(32), nullable=False),
        sa.Column("seconds", sa.Float, nullable=False, comment="of audio, as limits of a day count it"),
        comment="what was deleted within a day of its upload: who hands in and deletes has had his share all the same",
    )
    op.create_index("forgotten_songs_user_uploaded", "forgotten_songs", ["user_id", "uploaded_at"])


def downgrade() -> None:
    """Forget them."""
    op.drop_table("forgotten_songs")
