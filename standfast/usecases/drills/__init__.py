"""Restore drills, their checks and reports, and clean points.

A drill is a test: it restores a backup, checks and measures the result, and deletes the restored
data. Restores whose data is kept for use are in `backups`. A clean point is a recovery point
without traces of an intruder.
"""
