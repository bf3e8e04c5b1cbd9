"""Triggers: message intake, on-call pages, dead letters, promotion.

Signatures and message formats are in `standfast/triggers`.
"""
