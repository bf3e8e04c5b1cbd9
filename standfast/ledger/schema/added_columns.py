"""Columns that migrations added to tables of earlier releases.

It imports no SQLAlchemy, as `database.sqlite_file`.

Rules
- The digest of a row omits such a column while it is NULL. Rows that were written before the
  column existed keep the digest that the audit chain has for them.
- Each name is listed once, by the migration that adds the column; it is never removed.
"""

from collections.abc import Mapping

ADDED_COLUMNS: Mapping[str, frozenset[str]] = {}  # by table
