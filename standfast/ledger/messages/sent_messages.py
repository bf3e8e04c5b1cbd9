"""Messages of an incident's notices with their delivery, page by page.

A notice is a step of an incident that sends messages to people. Each planning of a step is a round.

Rules
- Messages are read in the order of their planning, one page at a time, in one read transaction.
- A message is left out while its step has no row in the table `step`: a process is still writing
  the plan, or died while it wrote.
- An individual message replaces the planned message to one held recipient (a recipient that waits
  for a person's decision).
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.effects.effect_conditions import with_step
from standfast.ledger.effects.effect_rows import EffectRow
from standfast.ledger.effects.effect_store import Effects
from standfast.ledger.incidents.step_transitions import refused_rounds
from standfast.ledger.messages.delivery_reports import Delivery
from standfast.ledger.schema.tables import attempt, delivery, effect
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.run_state import HELD_STEP_PREFIX
from standfast.records import DeliveryState

_PAGE = 500
_OWN = len(effect.columns)


@dataclass(frozen=True, kw_only=True)
class SentMessage:
    """One message: its planned row, its delivery and its submission time."""

    row: EffectRow
    delivery: Delivery | None
    submitted_at: datetime | None  # the last submission to the channel
    ended_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class View:
    """All messages of an incident at one moment, with their rounds."""

    number: int  # number of messages
    latest: Mapping[str, int]  # by step: the number of its newest round with messages
    refused: Set[tuple[str, int]]  # the rounds that an approver refused
    individual: Sequence[EffectRow]  # the individual messages
    messages: Iterator[SentMessage]


@contextmanager
def open_view(database: AuditedDatabase, effects: Effects, incident_id: str) -> Iterator[View]:
    """Open a read transaction, and yield the messages of an incident."""
    latest = (
        select(effect.c.step, func.max(effect.c.round), func.count())
        .select_from(with_step())
        .where(effect.c.incident == incident_id, effect.c.verb == SEND)
        .group_by(effect.c.step)
    )
    with database.reading() as connection:
        rounds = connection.execute(latest).all()
        yield View(
            number=sum(number for _, _, number in rounds),
            latest={step: round_ for step, round_, _ in rounds},
            refused=refused_rounds(connection, incident_id),
            individual=effects.find_in(connection, *_are_individual(incident_id)),
            messages=_read_messages(connection, effects, incident_id),
        )


def sent_messages(
    database: AuditedDatabase, effects: Effects, incident_id: str
) -> Iterator[SentMessage]:
    """Yield every message of an incident's notices."""
    with database.reading() as connection:
        yield from _read_messages(connection, effects, incident_id)


def individual_messages(effects: Effects, incident_id: str) -> list[EffectRow]:
    """Return the individual messages, which replace another message."""
    return effects.find(*_are_individual(incident_id))


def first_message(effects: Effects, row: EffectRow) -> EffectRow:
    """Return the first message to the recipient, from a step of the playbook.

    `row` is this message itself, or a message that replaces or corrects it.
    """
    return _before(effects, row, ("settles", "corrects"))


def replaced_message(effects: Effects, row: EffectRow) -> EffectRow:
    """Return the message that an individual message replaces.

    Return `row` itself if it is not an individual message.
    """
    return _before(effects, row, ("settles",))


def _before(effects: Effects, row: EffectRow, links: Sequence[str]) -> EffectRow:
    while before := next((row.details[link] for link in links if row.details.get(link)), None):
        (row,) = effects.find(effect.c.incident == row.incident, effect.c.token == str(before))
    return row


def _read_messages(
    connection: Connection, effects: Effects, incident_id: str
) -> Iterator[SentMessage]:
    tokens = (
        select(effect.c.token)
        .select_from(with_step())
        .where(effect.c.incident == incident_id, effect.c.verb == SEND)
        .order_by(effect.c.step, effect.c.round, effect.c.position)
        .execution_options(yield_per=_PAGE)
    )
    for page in connection.execute(tokens).scalars().partitions():
        yield from _read_page(connection, effects, page)


def _are_individual(incident_id: str) -> tuple[ColumnElement[bool], ...]:
    return (
        effect.c.incident == incident_id,
        effect.c.verb == SEND,
        effect.c.step.startswith(HELD_STEP_PREFIX, autoescape=True),
    )


def _read_page(
    connection: Connection, effects: Effects, tokens: Sequence[str]
) -> Iterator[SentMessage]:
    statement = (
        select(
            *effect.columns,
            delivery.c.state,
            delivery.c.at,
            delivery.c.complained_at,
            attempt.c.submitted_at,
            attempt.c.ended_at,
        )
        .select_from(
            effect.outerjoin(delivery, delivery.c.effect == effect.c.token).outerjoin(
                attempt, attempt.c.token == effect.c.attempt
            )
        )
        .where(effect.c.token.in_(tokens))
    )
    found: dict[str, tuple[Any, ...]] = {
        row[0]: tuple(row) for row in connection.execute(statement)
    }
    for token in tokens:
        values = found[token]
        state, at, complained_at, submitted_at, ended_at = values[_OWN:]
        reported = None
        if state is not None:
            reported = Delivery(state=DeliveryState(state), at=at, complained_at=complained_at)
        yield SentMessage(
            row=effects.decrypt(values[:_OWN]),
            delivery=reported,
            submitted_at=submitted_at,
            ended_at=ended_at,
        )
