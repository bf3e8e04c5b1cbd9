"""Triggers: message intake, dead letters, promotion, mails about them.

Signatures and message formats are in `standfast/triggers`.
"""
