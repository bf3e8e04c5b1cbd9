"""Notes of people about an incident."""

from alembic import op
from sqlalchemy import Column, ForeignKey, Integer, LargeBinary, String

from standfast.ledger.schema.tables import Moment

revision = "0002"
down_revision = "0001.3"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table of notes."""
    op.create_table(
        "incident_note",
        Column("incident", String(32), ForeignKey("incident.id"), primary_key=True),
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("sealed", LargeBinary, nullable=False),
        Column("files", Integer, nullable=False),
        Column("folder", String(64), nullable=False),
        Column("author", String(64), nullable=False),
        Column("recorded_at", Moment, nullable=False),
    )
