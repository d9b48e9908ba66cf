"""How Alembic reaches the ledger: over the connection that `schema.migrate` opened.

There is no offline mode and no alembic.ini; migrations run in the caller's transaction, whole or not at all.
"""

from alembic import context

from ironclad_assets.ledger.tables import metadata

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    target_metadata=metadata,
    version_table=attributes["version_table"],
    transactional_ddl=True,
    transaction_per_migration=False,
    render_as_batch=True,
)
context.run_migrations()
