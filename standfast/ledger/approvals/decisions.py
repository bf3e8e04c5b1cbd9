"""Decisions of a person about a step, as the column `approval.decision`."""

APPROVE = "approve"
REFUSE = "refuse"
BREAK_GLASS = "break-glass"  # approval by one person alone, with a waiting time
OBJECT = "object"  # in checks only, not stored: a refusal or review of a break-glass approval
