"""Alembic environment, which upgrades through the given connection."""

from alembic import context

from standfast.ledger.schema.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=False,
)
context.run_migrations()
