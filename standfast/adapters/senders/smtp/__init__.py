"""Sender for an SMTP relay, and its delivery reports.

Fetching a mailbox does not belong here.
"""
