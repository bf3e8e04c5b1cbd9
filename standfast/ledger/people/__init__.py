"""Enrolled approvers and imported staff lists.

Checks of approval signatures are in `approvals`.
"""
