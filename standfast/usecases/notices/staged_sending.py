"""Waves of one notice: a few first, then the others; and what people say meanwhile.

Owns who is in the canary and when the others follow. The ledger's `notices` has what holds while a
notice is paused, released or stopped.

Rules
- The canary is spread over the whole audience, so that every language and kind of row is in it.
  Letters are never in it, since nothing tells of them before somebody posts them.
- The others follow by themselves only when it is known of each of the canary whether its channel
  took it on, at most a tenth of it was turned away or is known to have bounced, and the pause is
  over. Otherwise a person says go.
- What is approved is the whole audience: the waves change when, never whom or what.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from standfast.config.sections.notices import NoticesConfig
from standfast.errors import UsageError
from standfast.ledger.effects.effect_conditions import NEVER
from standfast.ledger.messages.notice_control import NoticeRow
from standfast.notices.audience import Audience
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.planned_effects import Draft
from standfast.playbook.run_state import State
from standfast.plurals import counted
from standfast.records import DeliveryState, EffectState, StepState
from standfast.suggestions import known_names_hint
from standfast.usecases.core.installation import Installation
from standfast.usecases.notices.recipient_targets import POST

STOPPED = "stopped by"  # begins the reason of what was given up before it left
_MOST_LOST = 10  # one in so many of the canary


def with_canary(drafts: Iterable[Draft], settings: NoticesConfig, people: int) -> Iterator[Draft]:
    """Let all but the canary wait, where the audience of so many people is large enough for one."""
    percent = settings.canary_percent
    if not percent or people < max(2, settings.canary_from):
        yield from drafts
        return
    mails = 0
    for draft in drafts:
        if draft.state is not EffectState.PLANNED:
            yield draft
            continue
        is_first = False
        if not draft.target.startswith(POST):
            is_first = _of_hundred(mails, percent) < _of_hundred(mails + 1, percent)
            mails += 1
        yield draft if is_first else replace(draft, not_before=NEVER)


def _of_hundred(number: int, percent: int) -> int:
    return -(-number * percent // 100)  # rounded up


def left_out(audience: Audience) -> Iterator[str]:
    """Say how many rows tell nobody, and why, beside those that are listed one by one."""
    for rows, what in (
        (audience.held, "held: a person decides"),
        (audience.suppressed, "never to be written to"),
        (audience.repeated, "with a person or an address that another row has"),
    ):
        if rows:
            yield f"{counted(len(rows), 'row')} {what}"
    yield from unread_entries(audience)


def unread_entries(audience: Audience) -> Iterator[str]:
    """Say how many of those who are never to be written to may be written to all the same."""
    if many := audience.unread_entries:
        yield (
            f"{counted(many, 'entry', 'entries')} on the list of those never to be written to "
            "without an address that can be read: who is meant is told, unless it is a row's key"
        )


def due_notices(installation: Installation, state: State, now: datetime) -> list[str]:
    """Give the steps whose others may follow the canary now."""
    views = (*state.steps.values(), *state.earlier, *state.extra)
    names = {step.name for step in state.playbook.steps if step.action == SEND}
    is_possible = not state.is_halted and any(
        view.state is StepState.RUNNING
        and view.counts.planned
        and not view.counts.submitting
        and (view.step in names or view in state.extra)
        for view in views
    )
    if not is_possible:
        return []
    rows = installation.ledger.notices.of_incident(state.incident)
    return [row.step for row in rows if _may_follow(installation, state.incident, row, now)]


def release_due(installation: Installation, state: State, now: datetime) -> bool:
    """Let the others follow where they may; say whether there were any."""
    due = due_notices(installation, state, now)
    for step in dict.fromkeys(due):
        installation.ledger.notices.release(state.incident, step, "ledger", now)
    return bool(due)


def _may_follow(
    installation: Installation, incident_id: str, row: NoticeRow, now: datetime
) -> bool:
    minutes = installation.config.notices.canary_minutes
    if not row.waiting or row.is_paused or row.state is not StepState.RUNNING or not minutes:
        return False
    if row.canary_ended_at is None or now - row.canary_ended_at < timedelta(minutes=minutes):
        return False
    counts = row.counts
    is_open = counts.get(EffectState.PLANNED, 0) > row.waiting
    trouble = (EffectState.SUBMITTING, EffectState.UNKNOWN, EffectState.FAILED)
    done = counts.get(EffectState.DONE, 0)
    if is_open or not done or any(counts.get(one) for one in trouble):
        return False
    heard = installation.ledger.deliveries.counts(incident_id).get((row.step, row.round), {})
    lost = heard.get(DeliveryState.BOUNCED, 0) + heard.get(DeliveryState.DROPPED, 0)
    # Some relays say at once what others send back: there is no such mailbox.
    return (lost + row.turned_away) * _MOST_LOST <= done + row.turned_away


# what people say


def pause(installation: Installation, incident_id: str, step: str) -> None:
    """Let nothing more of one notice leave; the rest of the incident goes on."""
    its_notice(installation, incident_id, step)
    installation.ledger.notices.pause(incident_id, step, installation.actor, installation.clock())


def resume(installation: Installation, incident_id: str, step: str) -> None:
    """Let a paused notice go on."""
    its_notice(installation, incident_id, step)
    installation.ledger.notices.resume(incident_id, step, installation.actor, installation.clock())


def go(installation: Installation, incident_id: str, step: str) -> int:
    """Let those after the canary be written to now; give their number."""
    waiting = [row for row in its_notice(installation, incident_id, step) if row.waiting]
    if not waiting:
        raise UsageError(f"nobody of step {step!r} of {incident_id} waits for the first ones")
    if not any(row.state is StepState.RUNNING for row in waiting):
        raise UsageError(
            f"the notice of step {step!r} of {incident_id} is not approved; say go once the first "
            "ones were written to"
        )
    return installation.ledger.notices.release(
        incident_id, step, installation.actor, installation.clock()
    )


def stop(installation: Installation, incident_id: str, step: str, why: str) -> int:
    """Give up what of a notice has not left, for good; give how many are not told."""
    its_notice(installation, incident_id, step)
    reason = f"{STOPPED} {installation.actor} before it left: {why}"
    return installation.ledger.notices.stop(
        incident_id, step, reason, installation.actor, installation.clock()
    )


def its_notice(installation: Installation, incident_id: str, step: str) -> list[NoticeRow]:
    """Give the rounds of what a step tells, the latest last; UsageError where it tells nobody."""
    installation.ledger.incidents.get(incident_id)
    rows = installation.ledger.notices.of_incident(incident_id)
    found = [row for row in rows if row.step == step]
    if not found:
        known = known_names_hint(step, {row.step for row in rows})
        raise UsageError(f"{incident_id} tells nobody in a step {step!r}, so far; {known}")
    return found
