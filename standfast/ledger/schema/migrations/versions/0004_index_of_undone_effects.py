"""Index of undos by the effect that they undo.

Without the index, each deletion of an effect reads the whole table to verify the foreign key. The
deletion of a dead planner's rows would then take hours for 100,000 recipients.
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
