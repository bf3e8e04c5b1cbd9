"""Incidents from opening to closing: plan, execution and undo of steps.

Signatures and answers of people are in `approvals`.
"""
