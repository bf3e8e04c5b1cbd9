"""Connections to SQLite and PostgreSQL, and waits for locks.

Tables and the audit chain do not belong here: no module here depends on the meaning of a row.
"""
