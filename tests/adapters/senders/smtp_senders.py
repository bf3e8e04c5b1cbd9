"""Senders over SMTP to a relay of the test, and the received messages."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from standfast.adapters.senders import Message
from standfast.adapters.senders.smtp.sender import SmtpSender
from standfast.config.sections.senders import SmtpSenderConfig
from tests.adapters.senders.sender_context import context
from tests.adapters.settings import settings_of
from tests.servers.smtp import Delivered, SmtpServer

NOW = datetime(2025, 3, 4, 3, 0, tzinfo=UTC)


OPEN: list[SmtpSender] = []


def sender_for(
    server: SmtpServer,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    unchecked: Mapping[str, str] | None = None,
    **checked: Any,
) -> SmtpSender:
    """Build a sender; `unchecked` settings skip the configuration's checks."""
    values: dict[str, Any] = {
        "host": server.host,
        "port": server.port,
        "sender_address": "security@shop.test",
        "from_name": "Shop “Größe”, security",
        "security": "none",
    }
    settings = settings_of(SmtpSenderConfig, **values | checked).model_copy(update=unchecked or {})
    sender = SmtpSender("relay", settings, context(lambda: NOW), monotonic=monotonic)
    OPEN.append(sender)
    return sender


def parsed(delivered: Delivered) -> Message:
    mail = delivered.message
    assert not mail.defects
    (address,) = delivered.recipients
    text, html = (part.get_content().replace("\r\n", "\n") for part in mail.iter_parts())
    return Message(
        token=mail["Message-ID"].removeprefix("<").removesuffix("@shop.test>"),
        address=address,
        subject=mail["Subject"].strip(),  # a folded line begins with a space
        text=text,
        html=html,
        language=mail["Content-Language"],
    )
