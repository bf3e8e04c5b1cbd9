"""Clocks from contracts with clients, next to those of the law.

A clock is the running deadline of a duty to notify somebody of an incident. A contact centre is
usually a processor of its clients' data, and must notify the clients first. The contract with a
client usually states a number of hours or days. The law only says "without undue delay".
"""

from standfast.deadlines.applicability import Part
from standfast.deadlines.clock_starts import QUESTIONS
from standfast.deadlines.obligations import (
    AGREEMENT,
    Confidence,
    Kind,
    Limit,
    Obligation,
    Recipient,
    Status,
    Unit,
)


def contract(
    name: str,
    *,
    client: str,
    section: str,
    value: int,
    unit: Unit,
    start: str = "awareness",
    content: tuple[str, ...] = (),
) -> Obligation:
    """Return a contract's duty as an obligation.

    Its jurisdiction is `contract:NAME`.
    `start` is the event that starts the clock, a key of `QUESTIONS`; otherwise raise ValueError.
    """
    if start not in QUESTIONS:
        raise ValueError(f"start {start!r}: unknown; known: {', '.join(QUESTIONS)}")
    return Obligation(
        id=f"contract-{name}",
        jurisdiction=AGREEMENT + name,
        instrument=f"agreement with {client}",
        section=section,
        obligated_party=Part.PROCESSOR,
        recipient=Recipient.CONTROLLER,
        recipient_name=client,
        clock_start=start,
        limit=Limit(kind=Kind.HARD, value=value, unit=unit, start=start),
        content=content,
        status=Status.IN_FORCE,
        citation=f"agreement with {client}, {section}",
        sources=(),
        read_on="",
        confidence=Confidence.HIGH,
    )
