"""Held recipients (minors, the deceased): list, marks, decisions.

A held recipient is a recipient of a notice (a message to the people that an incident concerns)
about whom a person must decide. `notices/audience` determines which recipients are held.

Rules
- The person either orders an individual notice (`individual_notices`), a message to this recipient
  alone, or excludes the recipient with a reason. The decision is recorded with its author, time and
  reason in the ledger (the database of incidents). If the step of the notice names roles, only a
  person with one of these roles decides.
- A decision is final, with two exceptions: an excluded recipient may be notified later, and a
  decision to notify is void if an approver refuses the notice.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from operator import eq

from standfast.errors import UsageError
from standfast.ledger.effects.effect_rows import EffectRow
from standfast.ledger.messages.sent_messages import sent_messages
from standfast.records import JsonObject
from standfast.usecases.approvals.step_decisions import decision_actor
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.lifecycle import refuse_closed
from standfast.usecases.notice_follow_up.undelivered_messages import (
    individual_notice_steps,
    list_undelivered,
)
from standfast.usecases.notices.delivery_accounting import LEFT_OUT, NOTIFIED_BY_STEP, counted_rows
from standfast.usecases.notices.delivery_plan import HELD

_MARK_LENGTH = 8  # minimum length of a mark


@dataclass(frozen=True, kw_only=True)
class HeldRecipient:
    """One recipient that is held or was not reached."""

    mark: str  # first characters of the message's token; commands name the recipient by them
    step: str
    why: str
    decision: str  # "" before a decision
    by: str

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "mark": self.mark,
            "step": self.step,
            "why": self.why,
            "decision": self.decision,
            "by": self.by,
        }


def list_held(installation: Installation, incident_id: str) -> list[HeldRecipient]:
    """Return all held recipients of an incident, undecided recipients first."""
    installation.ledger.incidents.get(incident_id)
    rows = held_effects(installation, incident_id)
    replacing_steps = individual_notice_steps(installation, incident_id)
    undelivered = list_undelivered(installation, incident_id)
    marks = marks_of([*rows, *(message.row for message in undelivered)])
    found = [_held_recipient(row, replacing_steps, marks[row.token]) for row in rows]
    return sorted(found, key=lambda recipient: bool(recipient.decision))


def unreached(installation: Installation, incident_id: str) -> list[HeldRecipient]:
    """Return recipients of undelivered messages, undecided recipients first."""
    installation.ledger.incidents.get(incident_id)
    lost = list_undelivered(installation, incident_id)
    marks = marks_of([*held_effects(installation, incident_id), *(message.row for message in lost)])
    found = [
        HeldRecipient(
            mark=marks[message.row.token],
            step=message.row.step,
            why=message.why,
            decision=message.decision,
            by="",
        )
        for message in lost
    ]
    return sorted(found, key=lambda recipient: bool(recipient.decision))


def leave_out(
    installation: Installation,
    incident_id: str,
    marks: Sequence[str],
    because: str,
    *,
    by: str | None = None,
) -> int:
    """Exclude held recipients, with the reason; return how many.

    A repeated call changes nothing. Raise UsageError if an individual notice to one of the
    recipients was planned.
    """
    refuse_closed(installation, incident_id, then="decide about them")
    if not because.strip():
        raise UsageError("reason: missing. Add --because TEXT; it is kept with each recipient.")
    rows = find_by_mark(incident_id, held_effects(installation, incident_id), marks)
    replacing_steps = individual_notice_steps(installation, incident_id)
    for row in rows:
        _refuse_notified(row, replacing_steps)
    for row in rows:
        actor = decider(installation, row, by)
        if not _decision(row, replacing_steps):
            facts = {"decision": LEFT_OUT, "by": actor, "because": because}
            reason = f"{LEFT_OUT} by {actor}: {because} ({hold_reason(row)})"
            if not installation.ledger.notices.decide_held(
                row, facts, reason, actor, installation.clock()
            ):
                # Another process recorded a decision first: raise if it notifies the recipient.
                _refuse_notified(row, individual_notice_steps(installation, incident_id))
    return len(rows)


def _refuse_notified(row: EffectRow, replacing_steps: Mapping[str, str]) -> None:
    """Raise UsageError if an individual notice was planned for the recipient."""
    if (decision := _decision(row, replacing_steps)) not in ("", LEFT_OUT):
        raise UsageError(
            f"{short_mark(row)}: {decision} already. The decision cannot be changed here."
        )


def held_effects(installation: Installation, incident_id: str) -> list[EffectRow]:
    """Return the unsent messages to held recipients, one for each recipient."""
    messages = sent_messages(installation.ledger.database, installation.ledger.effects, incident_id)
    rows = [message.row for message in messages if is_held(message.row)]
    return counted_rows(rows, installation.ledger.steps.refused(incident_id))


def _decision(row: EffectRow, replacing_steps: Mapping[str, str]) -> str:
    """Return the valid decision about a recipient, or "".

    A planned individual notice is a decision, even if the process died before it recorded the
    decision and its reason.
    """
    if step := replacing_steps.get(row.token):
        return f"{NOTIFIED_BY_STEP} {step}"
    return LEFT_OUT if row.facts.get("decision") == LEFT_OUT else ""


def is_held(row: EffectRow) -> bool:
    return row.target.startswith(HELD)


def find_by_mark(
    incident_id: str, rows: Sequence[EffectRow], marks: Sequence[str]
) -> list[EffectRow]:
    found: dict[str, EffectRow] = {}  # by token, because a recipient may be named twice
    for mark in marks:
        matches = [row for row in rows if len(mark) >= 4 and row.token.startswith(mark.lower())]
        if len(matches) != 1:
            raise UsageError(
                f"mark {mark!r}: {len(matches) or 'no'} held recipients of {incident_id}. List "
                f"them with `standfast notice held {incident_id}`."
            )
        found[matches[0].token] = matches[0]
    return list(found.values())


def decider(installation: Installation, row: EffectRow, by: str | None) -> str:
    return decision_actor(
        installation, installation.ledger.incidents.state(row.incident), row.step, by
    )


def _held_recipient(row: EffectRow, replacing_steps: Mapping[str, str], mark: str) -> HeldRecipient:
    decision = _decision(row, replacing_steps)
    return HeldRecipient(
        mark=mark,
        step=row.step,
        why=hold_reason(row),
        decision=decision,
        by=str(row.facts.get("by") or "") if decision else "",
    )


def marks_of(rows: Iterable[EffectRow]) -> dict[str, str]:
    """Return the shortest unique prefix of each token, 8 characters or longer."""
    tokens = sorted({row.token for row in rows})
    shared = [sum(takewhile(bool, map(eq, *pair))) for pair in pairwise(tokens)]  # characters
    longest = map(max, [0, *shared], [*shared, 0])
    return {
        token: token[: max(_MARK_LENGTH, length + 1)]
        for token, length in zip(tokens, longest, strict=False)
    }


def short_mark(row: EffectRow) -> str:
    return row.token[:_MARK_LENGTH]


def hold_kind(row: EffectRow) -> str:
    return "held" if is_held(row) else "not reached"


def hold_reason(row: EffectRow) -> str:
    """Return why the recipient is held or was not reached."""
    return str(row.details.get("held") or row.reason or "the message did not arrive")
