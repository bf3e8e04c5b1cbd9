"""Values of the column `approval.decision`."""

APPROVE = "approve"
REFUSE = "refuse"
BREAK_GLASS = "break-glass"  # approval by one person alone, with a waiting time
OBJECT = "object"  # never stored; stands for a refusal or review of a break-glass approval
