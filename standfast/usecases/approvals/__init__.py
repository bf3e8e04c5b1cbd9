"""Approvals, refusals, answers, break-glass and pending requests.

Enrolment and passkeys of approvers are in `people`.
"""
