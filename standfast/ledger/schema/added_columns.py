"""Columns that migrations added to tables of earlier releases.

This module imports no SQLAlchemy, so that a backup run can be recorded without that import.

Rules
- The digest of a row omits an added column while its value is NULL. So rows from before the
  migration still have the digest that the audit chain (the log of all changes) contains.
- A column is listed here when a migration adds it, and is never removed from the list.
"""

from collections.abc import Mapping

ADDED_COLUMNS: Mapping[str, frozenset[str]] = {}  # by table
