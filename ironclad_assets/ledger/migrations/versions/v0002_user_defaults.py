"""What users want by default, and what the run of a job made of wishes and defaults."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of defaults and the column of resolved options."""
    op.create_table(
        "user_defaults",
        sa.Column("user_id", sa.String(64), primary_key=True),
        sa.Column("options", sa.JSON, nullable=False, comment="only those that the user set"),
        sa.Column("updated_at", sa.String(32), nullable=False),
    )
    op.add_column(
        "jobs",
        sa.Column(
            "resolved", sa.JSON(none_as_null=True), nullable=True, comment="options with every default filled in"
        ),
    )


def downgrade() -> None:
    """Forget both; jobs keep what was asked for."""
    op.drop_column("jobs", "resolved")
    op.drop_table("user_defaults")
