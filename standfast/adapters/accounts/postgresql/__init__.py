"""Connector for the roles of a PostgreSQL server.

Backups of PostgreSQL, and queries for recipients of notices, do not belong here.
"""

from standfast.adapters.accounts.postgresql.connector import PostgresqlConnector

__all__ = ["PostgresqlConnector"]
