"""PostgreSQL sources: dumps, base backups and WAL archives.

Restoring dumps into a server belongs in `targets`.
"""
