"""Who was told what, when, by which channel, and how it ended: of each notice of an incident.

Leaves writing it to a file to `accounting_export`.

Rules
- Each person that a notice was planned for stands in one line and counts once, so that the numbers
  always add up to the audience. What an approver refused and was then asked again is not counted:
  the newer round is.
- A message that was handed over ends as its provider tells: delivered, put off, bounced, dropped.
  A letter is handed over once somebody says that it was posted; until then it is only printed.
- Whom a person decided about counts by that: told by a step of its own, or left out and why.
- Addresses print masked, as the name that the ledger has for them; in clear only with a reason, and
  then the look is one event of the timeline.
- It is of one moment: who is decided about meanwhile counts as they stood at its beginning.
- A million people are gone through, never held: whoever wants their lines takes them one by one.
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
from standfast.ledger.messages.sent_messages import viewed
from standfast.records import DeliveryState, EffectState, JsonObject, timestamp
from standfast.usecases.core.installation import Installation
from standfast.usecases.notices.recipient_targets import HELD, POST

# What a person decided about somebody who was held: it stands in the effect's facts and reason.
LEFT_OUT, APART = "left out", "told by step"
LOST = (DeliveryState.DEFERRED, DeliveryState.BOUNCED, DeliveryState.DROPPED)  # and not told


class End(StrEnum):
    """How it ended for one person."""

    PLANNED = "planned"  # not begun: it waits for approval, the abort window, the canary or a turn
    UNDER_WAY = "under way"
    HANDED_OVER = "handed over"  # the channel took it on, and has told no more
    DELIVERED = "delivered"
    DEFERRED = "deferred"  # the mailbox puts it off; the provider tries again
    BOUNCED = "bounced"  # a letter: it came back
    DROPPED = "dropped"  # the provider did not try
    PRINTED = "printed"  # a letter to be posted; nobody has said that it was
    UNKNOWN = "unknown"  # it may have left; nobody could tell
    FAILED = "failed"  # it did not leave; `retry` may help
    REFUSED = "refused"  # not written to, with the reason
    HELD = "held"  # a person has to decide
    LEFT_OUT = "left out"  # a person decided so, with the reason
    NOT_APPROVED = "not approved"  # an approver said no

    @property
    def is_told(self) -> bool:
        return self in (End.HANDED_OVER, End.DELIVERED)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One person of one notice. `address` is empty unless somebody gave a reason to see it."""

    step: str
    round: int
    person: str  # the ledger's own name for the address
    address: str
    language: str
    why: str
    channel: str
    end: End
    reason: str
    submitted_at: datetime | None  # when it was handed to the channel, the last time
    ended_at: datetime | None  # when the channel answered, or the provider told the end
    complained_at: datetime | None  # when the reader called it spam, the first time

    def as_json(self) -> JsonObject:
        """Give the line for `--json` and for an export."""
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
    """One notice: how it ended for how many."""

    step: str
    template: str
    root: str  # Merkle root of what was approved
    counts: Mapping[End, int]

    @property
    def audience(self) -> int:
        return sum(self.counts.values())

    @property
    def untold(self) -> int:
        return sum(number for end, number in self.counts.items() if not end.is_told)

    def as_json(self) -> JsonObject:
        """Give the notice for `--json`, without its lines."""
        return {
            "step": self.step,
            "template": self.template,
            "root": self.root,
            "audience": self.audience,
            "untold": self.untold,
            "counts": {end.value: number for end, number in self.counts.items()},
        }


def account(
    installation: Installation,
    incident_id: str,
    *,
    unmasked_because: str = "",
    each: Callable[[Line], object] = lambda line: None,
) -> list[Account]:
    """Give the account of each notice, and each person's line to `each`, in order.

    With a reason the lines have addresses in clear, and the look is noted. UsageError for a blank
    one.
    """
    if unmasked_because and not unmasked_because.strip():
        raise UsageError("say why addresses are shown: --reason TEXT; the timeline keeps it")
    ledger = installation.ledger
    ledger.incidents.get(incident_id)
    of_step: dict[str, Counter[End]] = {}
    with viewed(ledger.database, ledger.effects, incident_id) as view:
        if unmasked_because:
            with ledger.database.write(
                actor=installation.actor,
                subject=incident_id,
                action="accounting.viewed",
                now=installation.clock(),
                detail={"count": view.number, "reason": unmasked_because},
            ):
                pass  # the event is all there is to write
        once = _Once(view.latest, view.refused, view.apart)
        for message in view.messages:
            row = message.row
            if not once.counts(row):
                continue
            one = line(
                row,
                message.delivery,
                (message.submitted_at, message.ended_at),
                is_refused=(row.step, row.round) in view.refused,
                is_clear=bool(unmasked_because),
            )
            of_step.setdefault(row.step, Counter())[one.end] += 1
            each(one)
    notices = {one.step: one for one in ledger.notices.of_incident(incident_id)}
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
    """Leave out what stands elsewhere: each person counts once.

    That is rounds that an approver refused where a later round was asked for, and who was held and
    is told by a step of their own.
    """
    latest: dict[str, int] = {}
    for row in rows:
        latest[row.step] = max(latest.get(row.step, 0), row.round)
    once = _Once(latest, refused, rows)
    return [row for row in rows if once.counts(row)]


class _Once:
    """Says of each message whether it counts, so that each person counts once."""

    def __init__(
        self, latest: Mapping[str, int], refused: Set[tuple[str, int]], apart: Iterable[EffectRow]
    ) -> None:
        """`apart` are those that stand in the place of another."""
        self._latest, self._refused = latest, refused
        self._settled = {
            row.details["settles"]
            for row in apart
            if "settles" in row.details and (row.step, row.round) not in refused
        }

    def counts(self, row: EffectRow) -> bool:
        """Does it count?"""
        is_refused = (row.step, row.round) in self._refused
        is_asked_anew = row.round < self._latest.get(row.step, 0)
        if is_refused and (is_asked_anew or "settles" in row.details):
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
    """Give one person's line."""
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
