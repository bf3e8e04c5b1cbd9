"""Delivery states of messages: ranked and merged reports of providers.

Rules
- A provider's reports about a message may arrive twice, late and in any order. Only the report of
  the highest rank is stored for each message, so that the order of arrival has no influence.
- A report of a final state (delivered, bounced or dropped) ranks above a report that the message
  was accepted or deferred. Within each of these two groups, the later report ranks higher, and of
  two reports of the same time the report of the worse state.
- A provider that reports a message has accepted it: the message becomes done, and is not sent
  again. A result of the call that sent the message changes nothing if it arrives later.
- Reports about messages that this database does not contain are counted and not stored.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.audit.transaction import Write
from standfast.ledger.effects.effect_rows import seal_reason
from standfast.ledger.schema.tables import delivery, effect
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.actions.people_page import PAGE
from standfast.records import DeliveryEvent, DeliveryState, EffectState

_TOKENS_A_STATEMENT = 500
_NOT_KNOWN_TO_BE_DONE = frozenset({"planned", "submitting", "unknown", "failed"})
_WORSE = (DeliveryState.DELIVERED, DeliveryState.DROPPED, DeliveryState.BOUNCED)
_ON_THE_WAY = (DeliveryState.TAKEN, DeliveryState.DEFERRED)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """The delivery state of one message."""

    state: DeliveryState
    at: datetime
    complained_at: datetime | None = None

    @property
    def _rank(self) -> tuple[bool, datetime, int]:
        is_end = self.state in _WORSE
        return is_end, self.at, (_WORSE if is_end else _ON_THE_WAY).index(self.state)

    def merged_with(self, other: "Delivery") -> "Delivery":
        """Return the state of the higher rank, with the earlier complaint."""
        higher = max(self, other, key=lambda state: state._rank)
        complaints = [
            state.complained_at for state in (self, other) if state.complained_at is not None
        ]
        return Delivery(
            state=higher.state, at=higher.at, complained_at=min(complaints, default=None)
        )


@dataclass(frozen=True, kw_only=True)
class DeliveryChanges:
    """Counts of the changes that delivery reports made."""

    changed: int = 0  # messages with a new delivery state
    settled: int = 0  # messages that were not known to be sent, and became done
    foreign: int = 0  # messages that this database does not contain


class Deliveries:
    """The delivery states of all messages."""

    def __init__(self, database: AuditedDatabase) -> None:
        self._database = database

    def store_reports(
        self,
        events: Sequence[DeliveryEvent],
        actor: str,
        now: datetime,
        *,
        reason: str = "the provider's event reports that it was accepted",
    ) -> DeliveryChanges:
        """Store the reports of a provider; idempotent.

        `reason` is stored with the messages that become done.
        """
        reported = _by_message(events)
        changed = settled = known = 0
        for incident_id, tokens in self._incidents_of(list(reported)).items():
            known += len(tokens)
            with self._database.write(
                actor=actor, subject=incident_id, action="deliveries.heard", now=now
            ) as write:
                moved, done = self._join(
                    write, {token: reported[token] for token in tokens}, reason
                )
                if moved or done:
                    write.add_detail(messages=moved, settled=done)
            changed, settled = changed + moved, settled + done
        return DeliveryChanges(changed=changed, settled=settled, foreign=len(reported) - known)

    def of_incident(self, incident_id: str) -> dict[str, Delivery]:
        """Return the delivery state of each reported message, by its token."""
        statement = (
            select(delivery)
            .join(effect, effect.c.token == delivery.c.effect)
            .where(effect.c.incident == incident_id)
        )
        with self._database.reading() as connection:
            return {row.effect: _delivery(row) for row in connection.execute(statement)}

    def counts(self, incident_id: str) -> dict[tuple[str, int], dict[DeliveryState, int]]:
        """Count the messages by step, planning round and delivery state."""
        statement = (
            select(effect.c.step, effect.c.round, delivery.c.state, func.count())
            .select_from(delivery.join(effect, effect.c.token == delivery.c.effect))
            .where(effect.c.incident == incident_id, effect.c.verb != PAGE)
            .group_by(effect.c.step, effect.c.round, delivery.c.state)
        )
        found: dict[tuple[str, int], dict[DeliveryState, int]] = {}
        with self._database.reading() as connection:
            for step, round_, state, number in connection.execute(statement):
                found.setdefault((step, round_), {})[DeliveryState(state)] = number
        return found

    def _incidents_of(self, tokens: Sequence[str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        with self._database.reading() as connection:
            for part in _parts(tokens):
                statement = select(effect.c.token, effect.c.incident).where(
                    effect.c.token.in_(part),
                    effect.c.verb.in_((SEND, PAGE)),
                    effect.c.attempt.is_not(None),
                )
                for token, incident_id in connection.execute(statement):
                    found.setdefault(incident_id, []).append(token)
        return found

    def _join(self, write: Write, reported: Mapping[str, Delivery], reason: str) -> tuple[int, int]:
        tokens = sorted(reported)  # the order of all row locks, to avoid deadlocks
        settled: list[dict[str, Any]] = []
        stored: dict[str, Delivery] = {}
        for part in _parts(tokens):
            rows = write.connection.execute(
                select(effect.c.token, effect.c.state, effect.c.verb, effect.c.incident)
                .where(effect.c.token.in_(part))
                .order_by(effect.c.token)
                .with_for_update()
            )
            settled += [
                self._done_columns(row, reason)
                for row in rows
                if row.state in _NOT_KNOWN_TO_BE_DONE
            ]
            known = select(delivery).where(delivery.c.effect.in_(part))
            stored |= {row.effect: _delivery(row) for row in write.connection.execute(known)}
        merged = {
            token: report.merged_with(stored[token]) if token in stored else report
            for token, report in reported.items()
        }
        write.insert(
            delivery, *(_row(token, merged[token]) for token in tokens if token not in stored)
        )
        moved = [token for token in tokens if token in stored and merged[token] != stored[token]]
        write.update_many(delivery, [_row(token, merged[token]) for token in moved])
        write.update_many(effect, settled)
        return len(tokens) - len(stored) + len(moved), len(settled)

    def _done_columns(self, row: Any, reason: str) -> dict[str, Any]:
        return {
            "token": row.token,
            "state": EffectState.DONE.value,
            "is_parked": False,
            "sealed_reason": seal_reason(
                self._database.cipher, row.verb, row.incident, row.token, reason
            ),
        }


def _by_message(events: Iterable[DeliveryEvent]) -> dict[str, Delivery]:
    reported: dict[str, Delivery] = {}
    for event in events:
        report = Delivery(
            state=event.state, at=event.at, complained_at=event.at if event.is_complaint else None
        )
        reported[event.token] = (
            report.merged_with(reported[event.token]) if event.token in reported else report
        )
    return reported


def _delivery(row: Any) -> Delivery:
    return Delivery(state=DeliveryState(row.state), at=row.at, complained_at=row.complained_at)


def _row(token: str, report: Delivery) -> dict[str, Any]:
    return {
        "effect": token,
        "state": report.state.value,
        "at": report.at,
        "complained_at": report.complained_at,
    }


def _parts(tokens: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(tokens), _TOKENS_A_STATEMENT):
        yield tokens[start : start + _TOKENS_A_STATEMENT]
