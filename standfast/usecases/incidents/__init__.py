"""Incidents from opening to closing: expansion, effects, undo.

What people sign or answer is in `approvals`.
"""
