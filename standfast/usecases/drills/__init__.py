"""Restore drills, their checks and reports, and clean points.

Restores whose data is kept for use are in `backups`.
"""
