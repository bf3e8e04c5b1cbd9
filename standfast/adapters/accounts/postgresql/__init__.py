"""Connector for the roles of a PostgreSQL server.

Audiences and backups that read PostgreSQL do not belong here.
"""

from standfast.adapters.accounts.postgresql.connector import PostgresqlConnector

__all__ = ["PostgresqlConnector"]
