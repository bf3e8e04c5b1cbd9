"""Accounting of notices: one line for each recipient, counted once.

A notice is a message to the people that an incident concerns; a step of the incident sends it.

Rules
- Each planned recipient of a notice has one line and is counted once, so that the counts add up to
  the audience (all recipients of the notice). Each planning of the step is a round. A round that an
  approver refused is omitted if a newer round was planned.
- The provider reports the result of a submitted message: delivered, deferred, bounced or dropped. A
  letter is submitted when somebody reports it as posted; until then it is only printed.
- If a person decided about a recipient, the line shows that decision: notified by a separate step,
  or excluded with a reason.
- A line names the person by a handle (a keyed hash of the address), not by the address. Addresses
  are shown only for a stated reason, and the audit log then records the access.
- All lines describe the same moment, even if the ledger (the database of incidents) changes while
  they are read.
- Callers receive the lines one by one, so that a million recipients are never all in memory.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import cast

from standfast.errors import UsageError
from standfast.ledger.effects.effect_rows import EffectRow
from standfast.ledger.messages.delivery_reports import Delivery
from standfast.ledger.messages.sent_messages import open_view
from standfast.records import DeliveryState, EffectState, JsonObject, timestamp
from standfast.usecases.core.installation import Installation
from standfast.usecases.notices.delivery_plan import HELD, POST

# Decisions of a person about a held recipient, such as a minor, as the ledger stores them.
LEFT_OUT, NOTIFIED_BY_STEP = "left out", "notified by step"
OLD_NOTIFIED_BY_STEP = "told by step"  # the value of NOTIFIED_BY_STEP in older ledgers
# Results of a provider that leave the recipient without the message, at least for now.
LOST = (DeliveryState.DEFERRED, DeliveryState.BOUNCED, DeliveryState.DROPPED)


class End(StrEnum):
    """The result for one recipient."""

    PLANNED = "planned"  # waits for an approval, a time, or the result of the first few messages
    UNDER_WAY = "under way"
    HANDED_OVER = "handed over"  # the channel accepted the message and has reported nothing else
    DELIVERED = "delivered"
    DEFERRED = "deferred"  # the mailbox delays the message; the provider tries again
    BOUNCED = "bounced"  # of a letter: it was returned
    DROPPED = "dropped"  # the provider did not try
    PRINTED = "printed"  # a letter that nobody has reported as posted
    UNKNOWN = "unknown"  # the message may have been sent
    FAILED = "failed"  # the message was not sent; `standfast incident retry` may send it
    REFUSED = "refused"  # not sent; the reason is stated
    HELD = "held"  # a person must decide about the recipient
    LEFT_OUT = "left out"  # a person excluded the recipient; the reason is stated
    NOT_APPROVED = "not approved"  # an approver refused the notice

    @property
    def is_notified(self) -> bool:
        return self in (End.HANDED_OVER, End.DELIVERED)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One recipient of one notice.

    `address` is "" unless somebody stated a reason to see it.
    """

    step: str
    round: int
    person: str  # handle of the address
    address: str
    language: str
    why: str
    channel: str
    end: End
    reason: str
    submitted_at: datetime | None  # the last submission to the channel
    ended_at: datetime | None  # the response of the channel, or the result of the provider
    complained_at: datetime | None  # when the recipient first reported the message as spam

    def as_json(self) -> JsonObject:
        """Return the JSON form of the line."""
        return {
            "step": self.step,
            "round": self.round,
            "person": self.person,
            **({"address": self.address} if self.address else {}),
            "language": self.language,
            "why": self.why,
            "channel": self.channel,
            "end": self.end.value,
            "reason": self.reason,
            "submitted_at": timestamp(self.submitted_at) if self.submitted_at else None,
            "ended_at": timestamp(self.ended_at) if self.ended_at else None,
            "complained_at": timestamp(self.complained_at) if self.complained_at else None,
        }


@dataclass(frozen=True, kw_only=True)
class Account:
    """One notice with the number of recipients by result."""

    step: str
    template: str
    root: str  # Merkle root of the approved messages
    counts: Mapping[End, int]

    @property
    def audience(self) -> int:
        return sum(self.counts.values())

    @property
    def not_notified(self) -> int:
        return sum(number for end, number in self.counts.items() if not end.is_notified)

    def as_json(self) -> JsonObject:
        """Return the JSON form without lines."""
        return {
            "step": self.step,
            "template": self.template,
            "root": self.root,
            "audience": self.audience,
            "not_notified": self.not_notified,
            "counts": {end.value: number for end, number in self.counts.items()},
        }


def account(
    installation: Installation,
    incident_id: str,
    *,
    unmasked_because: str = "",
    each: Callable[[Line], object] = lambda line: None,
) -> list[Account]:
    """Return the totals of each notice; pass each line to `each`, in order.

    If `unmasked_because` states a reason, the lines have addresses, and the access is recorded.
    Raise UsageError for a blank reason.
    """
    if unmasked_because and not unmasked_because.strip():
        raise UsageError(
            "reason: missing. Add --reason TEXT to show addresses; the timeline keeps it."
        )
    ledger = installation.ledger
    ledger.incidents.get(incident_id)
    of_step: dict[str, Counter[End]] = {}
    with open_view(ledger.database, ledger.effects, incident_id) as view:
        if unmasked_because:
            with ledger.database.write(
                actor=installation.actor,
                subject=incident_id,
                action="accounting.viewed",
                now=installation.clock(),
                detail={"count": view.number, "reason": unmasked_because},
            ):
                pass  # the statement writes the event only
        once = _FirstCount(view.latest, view.refused, view.individual)
        for message in view.messages:
            row = message.row
            if not once.counts(row):
                continue
            recipient = line(
                row,
                message.delivery,
                (message.submitted_at, message.ended_at),
                is_refused=(row.step, row.round) in view.refused,
                is_clear=bool(unmasked_because),
            )
            of_step.setdefault(row.step, Counter())[recipient.end] += 1
            each(recipient)
    notices = {notice.step: notice for notice in ledger.notices.of_incident(incident_id)}
    return [
        Account(
            step=step,
            template=notices[step].template if step in notices else "",
            root=notices[step].root if step in notices else "",
            counts={end: found[end] for end in End if found[end]},
        )
        for step, found in of_step.items()
    ]


def counted_rows(rows: Sequence[EffectRow], refused: set[tuple[str, int]]) -> list[EffectRow]:
    """Return at most one row for each person.

    Omit a round that an approver refused if a later round exists. Omit also a message that an
    individual notice to the same person replaces.
    """
    latest: dict[str, int] = {}
    for row in rows:
        latest[row.step] = max(latest.get(row.step, 0), row.round)
    once = _FirstCount(latest, refused, rows)
    return [row for row in rows if once.counts(row)]


class _FirstCount:
    """A filter of rows, so that each person is counted once."""

    def __init__(
        self,
        latest: Mapping[str, int],
        refused: Set[tuple[str, int]],
        individual: Iterable[EffectRow],
    ) -> None:
        """`individual` are the messages that replace other messages."""
        self._latest, self._refused = latest, refused
        self._settled = {
            row.details["settles"]
            for row in individual
            if "settles" in row.details and (row.step, row.round) not in refused
        }

    def counts(self, row: EffectRow) -> bool:
        """Return whether `counted_rows` includes the row."""
        is_refused = (row.step, row.round) in self._refused
        is_replanned = row.round < self._latest.get(row.step, 0)
        if is_refused and (is_replanned or "settles" in row.details):
            return False
        return row.token not in self._settled


def line(
    row: EffectRow,
    delivery: Delivery | None,
    call: tuple[datetime | None, datetime | None],
    *,
    is_refused: bool,
    is_clear: bool,
) -> Line:
    """Return the line of one recipient."""
    end = _end(row, delivery, is_refused=is_refused)
    details = cast("Mapping[str, str]", row.details)
    address = details.get("address") or row.target.partition(":")[2].replace("\n", ", ")
    submitted_at, ended_at = call
    is_posted = row.target.startswith(POST) and end is End.HANDED_OVER
    if delivery is not None and (end.value == delivery.state.value or is_posted):
        ended_at = delivery.at
    return Line(
        step=row.step,
        round=row.round,
        person=row.handle[:16],
        address=address if is_clear else "",
        language=details.get("language", ""),
        why=details.get("why", ""),
        channel=row.connector,
        end=end,
        reason=row.reason,
        submitted_at=submitted_at,
        ended_at=ended_at,
        complained_at=delivery.complained_at if delivery else None,
    )


def _end(row: EffectRow, delivery: Delivery | None, *, is_refused: bool) -> End:
    match row.state:
        case EffectState.PLANNED:
            return End.NOT_APPROVED if is_refused else End.PLANNED
        case EffectState.SUBMITTING:
            return End.UNDER_WAY
        case EffectState.UNKNOWN:
            is_letter = row.target.startswith(POST) and row.is_parked
            return End.PRINTED if is_letter else End.UNKNOWN
        case EffectState.FAILED:
            return End.FAILED
        case EffectState.REFUSED:
            if not row.target.startswith(HELD):
                return End.REFUSED
            return End.LEFT_OUT if row.facts.get("decision") == LEFT_OUT else End.HELD
        case EffectState.DONE:
            match delivery.state if delivery else None:
                case DeliveryState.DELIVERED:
                    return End.DELIVERED
                case DeliveryState.BOUNCED:
                    return End.BOUNCED
                case DeliveryState.DROPPED:
                    return End.DROPPED
                case DeliveryState.DEFERRED:
                    return End.DEFERRED
                case _:
                    return End.HANDED_OVER
