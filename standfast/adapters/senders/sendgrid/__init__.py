"""Sender for Twilio SendGrid, and its delivery events.

HTTP end points and database updates do not belong here.
"""

from standfast.adapters.senders.sendgrid.sender import SendGridSender

__all__ = ["SendGridSender"]
