"""Backup, verification, retention, replication and restores.

Formats and stores are in the package `backup`. Test restores are in `drills`.
"""
