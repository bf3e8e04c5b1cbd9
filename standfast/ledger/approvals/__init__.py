"""Two-person rule and the signatures of approvers.

The state of a step that waits for approval is in `incidents`.
"""
