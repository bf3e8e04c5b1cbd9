"""Incidents from opening to closing: expansion, effects, undo.

Signatures and answers of people are in `approvals`.
"""
