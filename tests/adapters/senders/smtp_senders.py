"""Senders over SMTP to a relay of the test, and what it was handed."""

from datetime import UTC, datetime
from typing import Any

from standfast.adapters.senders import Message
from standfast.adapters.senders.smtp.sender import SmtpSender
from tests.servers.smtp import Delivered, SmtpServer

NOW = datetime(2025, 3, 4, 3, 0, tzinfo=UTC)


OPEN: list[SmtpSender] = []


def sender_for(server: SmtpServer, **changes: Any) -> SmtpSender:
    values: dict[str, Any] = {
        "name": "relay",
        "host": server.host,
        "port": server.port,
        "sender_address": "security@shop.test",
        "from_name": "Shop “Größe”, security",
        "security": "none",
        "clock": lambda: NOW,
    }
    sender = SmtpSender(**{**values, **changes})
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
