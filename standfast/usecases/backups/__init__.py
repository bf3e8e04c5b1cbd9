"""Backup, verification, retention, replication and restores.

Formats, stores and bytes are in `backup/`; drills are in `drills`.
"""
