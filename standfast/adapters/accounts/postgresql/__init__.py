"""Connector for the roles of a PostgreSQL server.

Audiences and backups that read PostgreSQL do not belong here.
"""
