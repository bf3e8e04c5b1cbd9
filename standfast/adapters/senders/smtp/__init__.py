"""Sender for an SMTP relay, and its delivery reports.

Fetching a mailbox does not belong here.
"""

from standfast.adapters.senders.smtp.sender import SmtpSender

__all__ = ["SmtpSender"]
