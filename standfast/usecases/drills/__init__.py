"""Restore drills, their checks, their signed reports, clean points.

Restores that somebody keeps are in `backups`.
"""
