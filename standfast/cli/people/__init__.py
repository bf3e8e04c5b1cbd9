"""Commands on approvers, staff lists and leavers.

Approvals of a step are in `incidents`.
"""
