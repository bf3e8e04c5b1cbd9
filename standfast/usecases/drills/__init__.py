"""Restore drills, their checks and reports, and clean points.

Restores whose result is kept are in `backups`.
"""
