"""Unchangeable lists of the people that an incident affects."""

from alembic import op
from sqlalchemy import Boolean, Column, ForeignKey, Integer, LargeBinary, String

from standfast.ledger.schema.tables import Moment

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables of lists and of their pages."""
    op.create_table(
        "affected_list",
        Column("incident", String(32), ForeignKey("incident.id"), primary_key=True),
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("people", Integer, nullable=False),
        Column("pages", Integer, nullable=False),
        Column("digest", String(64), nullable=False),
        Column("replaces", Boolean, nullable=False),
        Column("sealed", LargeBinary, nullable=False),
        Column("author", String(64), nullable=False),
        Column("recorded_at", Moment, nullable=False),
    )
    op.create_table(
        "affected_page",
        Column("incident", String(32), ForeignKey("incident.id"), primary_key=True),
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("page", Integer, primary_key=True, autoincrement=False),
        Column("sealed", LargeBinary, nullable=False),
    )
