"""Restore drills, their checks and reports, and clean points.

Restores for use are in `backups`.
"""
