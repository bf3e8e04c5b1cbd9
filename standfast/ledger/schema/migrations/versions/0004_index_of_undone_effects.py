"""Index of undos by the effect that they undo.

An effect is one change of one target; an undo restores the target. Without the index, each deletion
of an effect reads the whole table to verify the foreign key. If a process died while it planned
messages to 100,000 recipients, the deletion of its rows would take hours.
"""

from alembic import op
from sqlalchemy import text

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    is_undo = text("undoes IS NOT NULL")
    op.create_index(
        "ix_effect_undoes", "effect", ["undoes"], postgresql_where=is_undo, sqlite_where=is_undo
    )
