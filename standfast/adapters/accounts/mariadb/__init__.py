"""Connector for the users of a MariaDB server.

Audiences and backups that read MariaDB do not belong here.
"""

from standfast.adapters.accounts.mariadb.connector import MariadbConnector

__all__ = ["MariadbConnector"]
