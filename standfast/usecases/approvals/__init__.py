"""Approvals, refusals, answers, break-glass and pending requests.

A break-glass approval is the approval of containment (such as a lock) by one person alone. The
enrolment and the passkeys of approvers are in the package `people`.
"""
