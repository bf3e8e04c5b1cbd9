"""Connector for the users of a MariaDB server.

Audiences and backups that read MariaDB do not belong here.
"""
