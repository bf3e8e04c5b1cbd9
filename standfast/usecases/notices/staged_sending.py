"""Staged sending: size of the canary, release of the rest, stop.

    with_canary(drafts, settings, people)          # while planning
    release_due(installation, state, now)          # called by every runner

A notice is a message to the people that an incident concerns. The canary is its first few messages.
A runner is a process that executes incidents. `ledger.notices` enforces a pause, a release or a
stop.

Rules
- The canary is spread evenly over the audience (all recipients of the notice), so that it contains
  many languages and kinds of recipients. A letter is never part of the canary: its outcome is
  unknown until somebody posts it.
- The remaining messages are released automatically on three conditions: every canary message has a
  known outcome, at most 10 % of the canary were rejected or bounced, and `canary_minutes` have
  passed. Otherwise an operator releases the remaining messages with `standfast notice go`.
- One approval covers the whole audience. Staged sending only delays messages: it changes neither
  the recipients nor the text.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from standfast.config.sections.notices import NoticesConfig
from standfast.errors import UsageError
from standfast.ledger.effects.effect_conditions import NEVER
from standfast.ledger.messages.notice_control import NoticeRow
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.planned_effects import Draft
from standfast.playbook.run_state import State
from standfast.records import DeliveryState, EffectState, StepState
from standfast.suggestions import known_names_hint
from standfast.usecases.core.installation import Installation
from standfast.usecases.notices.delivery_plan import POST

STOPPED = "stopped by"  # prefix of the reason of a message that was stopped before sending
_MESSAGES_PER_LOSS = 10  # one lost message is tolerated for each 10 messages of the canary


def with_canary(drafts: Iterable[Draft], settings: NoticesConfig, people: int) -> Iterator[Draft]:
    """Delay all messages except the canary, if the audience is large."""
    percent = settings.canary_percent
    if not percent or people < max(2, settings.canary_from):
        yield from drafts
        return
    position = 0  # number of earlier messages, without letters
    for draft in drafts:
        if draft.state is not EffectState.PLANNED:
            yield draft
            continue
        is_first = False
        if not draft.target.startswith(POST):
            before = _percent_rounded_up(position, percent)
            position += 1
            is_first = before < _percent_rounded_up(position, percent)
        yield draft if is_first else replace(draft, not_before=NEVER)


def _percent_rounded_up(number: int, percent: int) -> int:
    return -(-number * percent // 100)


def due_notices(installation: Installation, state: State, now: datetime) -> list[str]:
    """Return the notice steps with delayed messages that may now be sent."""
    views = (*state.steps.values(), *state.earlier, *state.extra)
    names = {step.name for step in state.playbook.steps if step.action == SEND}
    is_possible = not state.is_stopped_or_closed and any(
        view.state is StepState.RUNNING
        and view.counts.planned
        and not view.counts.submitting
        and (view.step in names or view in state.extra)
        for view in views
    )
    if not is_possible:
        return []
    rows = installation.ledger.notices.of_incident(state.incident)
    return [row.step for row in rows if _may_release(installation, state.incident, row, now)]


def release_due(installation: Installation, state: State, now: datetime) -> bool:
    """Release the remaining messages of each due notice.

    Return whether a notice was due.
    """
    due = due_notices(installation, state, now)
    for step in dict.fromkeys(due):
        installation.ledger.notices.release(state.incident, step, "ledger", now)
    return bool(due)


def _may_release(
    installation: Installation, incident_id: str, row: NoticeRow, now: datetime
) -> bool:
    minutes = installation.config.notices.canary_minutes
    if not row.waiting or row.is_paused or row.state is not StepState.RUNNING or not minutes:
        return False
    if row.canary_ended_at is None or now - row.canary_ended_at < timedelta(minutes=minutes):
        return False
    counts = row.counts
    is_open = counts.get(EffectState.PLANNED, 0) > row.waiting
    unsettled = (EffectState.SUBMITTING, EffectState.UNKNOWN, EffectState.FAILED)
    done = counts.get(EffectState.DONE, 0)
    if is_open or not done or any(counts.get(state) for state in unsettled):
        return False
    deliveries = installation.ledger.deliveries.counts(incident_id).get((row.step, row.round), {})
    lost = deliveries.get(DeliveryState.BOUNCED, 0) + deliveries.get(DeliveryState.DROPPED, 0)
    # Include rejections in the losses: some relays reject an unknown mailbox at once, other relays
    # accept the message and return it later as a bounce.
    return (lost + row.turned_away) * _MESSAGES_PER_LOSS <= done + row.turned_away


# Commands of the operator


def pause(installation: Installation, incident_id: str, step: str) -> None:
    """Pause one notice; the other steps of the incident continue."""
    notice_rounds(installation, incident_id, step)
    installation.ledger.notices.pause(incident_id, step, installation.actor, installation.clock())


def resume(installation: Installation, incident_id: str, step: str) -> None:
    """Resume a paused notice."""
    notice_rounds(installation, incident_id, step)
    installation.ledger.notices.resume(incident_id, step, installation.actor, installation.clock())


def go(installation: Installation, incident_id: str, step: str) -> int:
    """Release the messages that wait for the canary; return their number."""
    waiting = [row for row in notice_rounds(installation, incident_id, step) if row.waiting]
    if not waiting:
        raise UsageError(
            f"notice {step!r} of {incident_id}: no recipients are waiting. Nothing to release."
        )
    if not any(row.state is StepState.RUNNING for row in waiting):
        raise UsageError(
            f"notice {step!r} of {incident_id}: not approved. Release it after the canary was sent."
        )
    return installation.ledger.notices.release(
        incident_id, step, installation.actor, installation.clock()
    )


def stop(installation: Installation, incident_id: str, step: str, why: str) -> int:
    """Stop all unsent messages of a notice permanently; return their number."""
    notice_rounds(installation, incident_id, step)
    reason = f"{STOPPED} {installation.actor} before sending: {why}"
    return installation.ledger.notices.stop(
        incident_id, step, reason, installation.actor, installation.clock()
    )


def notice_rounds(installation: Installation, incident_id: str, step: str) -> list[NoticeRow]:
    """Return the rounds of a step's notice, newest last.

    Each planning of the step is a round. Raise UsageError if the step has no notice.
    """
    installation.ledger.incidents.get(incident_id)
    rows = installation.ledger.notices.of_incident(incident_id)
    found = [row for row in rows if row.step == step]
    if not found:
        known = known_names_hint(step, {row.step for row in rows})
        raise UsageError(f"step {step!r} of {incident_id}: no notice is planned; {known}")
    return found
