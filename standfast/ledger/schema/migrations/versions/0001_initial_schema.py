"""The first schema; `schema_version` creates it from `schema.tables`."""

revision = "0001.3"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Do nothing: no database has an earlier schema."""
