"""Two-person rule and the signatures of approvers.

The package `incidents` contains the state of a step that waits for approval.
"""
