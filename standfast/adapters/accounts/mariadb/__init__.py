"""Connector for the users of a MariaDB server.

Backups of MariaDB, and queries for recipients of notices, do not belong here.
"""

from standfast.adapters.accounts.mariadb.connector import MariadbConnector

__all__ = ["MariadbConnector"]
