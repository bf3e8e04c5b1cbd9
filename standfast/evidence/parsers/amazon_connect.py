"""Contact records of Amazon Connect: search results and exported records.

A contact record describes one contact with a customer, such as a call.
"""

from collections.abc import Mapping
from typing import Any

from standfast.evidence.parsers.log_record import Record, inner, parse_time, text_of


def parse_contact(number: int, contact: Mapping[str, Any]) -> Record | None:
    """Parse a contact; None if it has no time.

    The account is the name of the agent. If the contact has no name, it is the agent's ID.
    """
    time = parse_time(contact.get("InitiationTimestamp"))
    if time is None:
        return None
    at, is_zone_assumed = time
    return Record(
        at,
        number,
        is_zone_assumed,
        text_of(inner(contact, "Agent", "Username")) or text_of(inner(contact, "AgentInfo", "Id")),
        "",
        text_of(contact.get("InitiationMethod")) or text_of(contact.get("Channel")),
        text_of(contact.get("ContactId")) or text_of(contact.get("Id")),
        text_of(contact.get("DisconnectReason")),
    )
