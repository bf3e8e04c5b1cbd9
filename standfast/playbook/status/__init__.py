"""Status of an incident: progress, obstacles and next step.

The rules of progress belong in `engine`.
"""
