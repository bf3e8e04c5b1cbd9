"""Rows and text of legal clocks: due dates, certainty, questions.

A legal clock is the running time limit of one obligation to notify somebody.
"""

from datetime import datetime
from typing import TYPE_CHECKING

from standfast.cli.terminal.output import Line, Table
from standfast.local_time import minute
from standfast.records import Json, JsonObject, timestamp

if TYPE_CHECKING:
    from standfast.deadlines.legal_clocks import Clock
    from standfast.deadlines.obligations import Obligation


def clock_lines(clock: "Clock", now: datetime, zone: str) -> list[Line]:
    """Return the lines of one clock: a heading and a table."""
    obligation = clock.obligation
    rows = [["due", due_text(clock, now, zone)]]
    if clock.started_at is not None:
        rows.append(["from", f"{clock.started_by}, {minute(clock.started_at, zone)}"])
    rows.append(["rule", f"{obligation.citation}: {limit_text(obligation)}"])
    if clock.because:
        rows.append(["because", clock.because])
    rows += [["blocked", _block(block.reason, block.until, zone)] for block in clock.blocks]
    for was in clock.was:
        who, action = was.replaced_by.author, was.replaced_by.name
        rows.append(
            ["was due", f"{minute(was.due.strict, zone)}, before {who} stated {action} again"]
        )
    if obligation.content:
        rows.append(["contents", "; ".join(obligation.content)])
    rows += [["open", f"{question.text} ({question.name})"] for question in clock.questions]
    if obligation.confidence != "high":
        rows.append(
            ["confidence", f"{obligation.confidence}; {obligation.notes or 'see its sources'}"]
        )
    return [
        f"{state_words(clock)}: notify {obligation.recipient_name} [{obligation.id}]",
        Table(rows=rows, indent=2),
    ]


def state_words(clock: "Clock") -> str:
    """Return the state of a clock as words."""
    return clock.state.value.replace("_", " ")


def limit_text(obligation: "Obligation") -> str:
    """Return the time limit of an obligation and the event that starts it."""
    limit = obligation.limit
    number = f"{limit.value} {limit.unit.replace('_', ' ')}" if limit.value and limit.unit else ""
    start = f"from {limit.start}" if number else limit.start
    return ", ".join(part for part in (number, start, limit.also) if part)


def due_text(clock: "Clock", now: datetime, zone: str) -> str:
    """Return when an obligation is due, in a time zone.

    The strict date comes first: the earliest date that any reading of the rule gives.
    """
    from standfast.deadlines.obligations import Kind

    if clock.open_delay is not None:
        return "when law enforcement ends its delay"
    kind = clock.obligation.limit.kind
    if kind is Kind.BEFORE and clock.due is None:
        return "before the people concerned are notified"
    if clock.due is None:
        is_soft = clock.started_at is not None
        return "now (without delay)" if is_soft else "when its start is stated"
    strict, lenient = clock.due.strict, clock.due.lenient
    if kind is Kind.NOT_BEFORE:
        return f"not before {minute(strict, zone)}"
    left = strict - now
    hours = int(abs(left).total_seconds() // 3600)
    much = f"{hours // 24} d {hours % 24} h"
    rest = f"{much} left" if left.total_seconds() > 0 else f"{much} ago"
    wide = f"; lenient {minute(lenient, zone)}" if lenient != strict else ""
    return f"{minute(strict, zone)} ({rest}{wide})"


def _block(reason: str, until: datetime | None, zone: str) -> str:
    return f"{reason}; until {minute(until, zone)}" if until else reason


def clock_document(clock: "Clock") -> JsonObject:
    """Return the JSON document of one clock."""
    obligation = clock.obligation
    due: Json = None
    if clock.due is not None:
        due = {"strict": timestamp(clock.due.strict), "lenient": timestamp(clock.due.lenient)}
    return {
        "id": obligation.id,
        "state": clock.state.value,
        "to": obligation.recipient_name,
        "kind": obligation.limit.kind.value,
        "due": due,
        "started_at": timestamp(clock.started_at) if clock.started_at else None,
        "started_by": clock.started_by,
        "because": clock.because,
        "citation": obligation.citation,
        "content": list(obligation.content),
        "questions": [
            {"kind": each.kind.value, "name": each.name, "text": each.text}
            for each in clock.questions
        ],
        "was": [
            {"strict": timestamp(was.due.strict), "replaced_by": was.replaced_by.author}
            for was in clock.was
        ],
        "blocks": [
            {"reason": block.reason, "until": timestamp(block.until) if block.until else None}
            for block in clock.blocks
        ],
        "confidence": obligation.confidence.value,
    }
