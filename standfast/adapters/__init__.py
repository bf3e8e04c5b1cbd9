"""Adapters between Standfast and the systems it reads and changes.

Rules, persistence and use-cases do not belong here.
"""
