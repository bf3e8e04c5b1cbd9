"""Senders, built from their settings.

The module of a sender is imported when it is built: a command that notifies nobody loads none.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Final

from standfast.adapters.senders import Sender
from standfast.adapters.senders.sender_context import SenderContext
from standfast.config import Config
from standfast.records import Now
from standfast.secrets import Reveal

# By kind: the module below `standfast.adapters.senders`, and the class in it.
SENDERS: Final[Mapping[str, tuple[str, str]]] = {
    "apprise": ("apprise", "AppriseSender"),
    "letters": ("letters", "LettersSender"),
    "sendgrid": ("sendgrid.sender", "SendGridSender"),
    "ses": ("ses", "SesSender"),
    "smtp": ("smtp.sender", "SmtpSender"),
}


def build_sender(config: Config, name: str, reveal: Reveal, clock: Now) -> Sender:
    """Build a sender and resolve its secrets; SecretMissing names one."""
    settings = config.senders[name]
    module, class_name = SENDERS[settings.kind]
    kind: type = getattr(import_module(f"standfast.adapters.senders.{module}"), class_name)
    context = SenderContext(organisation=config.organisation, reveal=reveal, clock=clock)
    sender: Sender = kind(name, settings, context)
    return sender
