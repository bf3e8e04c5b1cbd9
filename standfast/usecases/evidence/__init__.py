"""Frozen evidence: verification, stamps, copies, review, export.

Freezing and sealing are in `standfast/evidence`.
"""
