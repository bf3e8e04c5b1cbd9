"""Values of the column `approval.decision`."""

APPROVE = "approve"
REFUSE = "refuse"
BREAK_GLASS = "break-glass"
OBJECT = "object"  # never stored: a refusal of a broken glass, or a review of one
