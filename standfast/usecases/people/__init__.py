"""Enrolled people, their passkeys, staff lists and leavers.

Their decisions about incidents are in `approvals`.
"""
