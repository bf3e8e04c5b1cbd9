"""Reports of people about letters: posted, discarded or returned.

A sender (adapter of a message channel) of kind `letters` writes the letters of a notice to files,
which people print. A notice is a message to the people that an incident concerns.

Rules
- A written letter waits until a person posts it and reports the time. The ledger (the database of
  incidents) records the person that reported it. If the step of the notice names roles, only a
  person with one of these roles may report.
- A repeated report changes nothing. If two people report the same letter at the same time, the
  first report is stored.
- A returned letter is treated like a bounced mail: its recipient was not notified.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from standfast.adapters.senders.letters import MARK_LENGTH, WRITTEN
from standfast.config.sections.senders import LettersSenderConfig
from standfast.errors import UsageError
from standfast.ledger.effects.effect_rows import EffectRow
from standfast.ledger.messages.sent_messages import sent_messages
from standfast.local_time import minute
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.run_state import State, StepView
from standfast.records import DeliveryEvent, DeliveryState, EffectState
from standfast.usecases.approvals.step_decisions import decision_actor
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.result_summary import Tally
from standfast.usecases.notices.delivery_plan import POST

THROWN_AWAY = "thrown away unposted"  # prefix of the reason of a discarded letter
TRANSACTION_ROWS = 500


def record_posted(
    installation: Installation,
    incident_id: str,
    step: str,
    *,
    at: datetime | None = None,
    marks: Sequence[str] = (),
    by: str | None = None,
) -> int:
    """Record that the waiting letters were posted; return their number.

    `marks` selects letters by the mark that is printed at the foot of each letter. Without `marks`,
    all waiting letters of the step are recorded as posted. Raise UsageError if no letter waits, for
    an unknown mark, and for a time in the future or before the incident.
    """
    actor, now = _reporter(installation, incident_id, step, by), installation.clock()
    at = at or now
    if at > now:
        raise UsageError("time: it is in the future. Report only letters that were posted.")
    opened = installation.ledger.incidents.get(incident_id).opened_at
    if at < opened:
        raise UsageError(
            f"{incident_id}: opened "
            f"{minute(opened, installation.config.organisation.time_zone)}, and "
            "no letter was written before that. Correct the time of posting."
        )
    rows = _waiting(installation, incident_id, step, marks)
    number = 0
    for start in range(0, len(rows), TRANSACTION_ROWS):
        part = rows[start : start + TRANSACTION_ROWS]
        events = [DeliveryEvent(token=row.token, state=DeliveryState.TAKEN, at=at) for row in part]
        stored = installation.ledger.deliveries.store_reports(
            events, actor, now, reason=f"posted, says {actor}"
        )
        number += stored.settled
    return _require_letters(number, incident_id, step)


def record_discarded(
    installation: Installation,
    incident_id: str,
    step: str,
    because: str,
    *,
    marks: Sequence[str] = (),
    by: str | None = None,
) -> int:
    """Record that the waiting letters were discarded; return their number.

    The recipients of discarded letters are not notified. `marks` selects letters as in
    `record_posted`. Raise UsageError if no letter waits, and for an unknown mark.
    """
    actor, now = _reporter(installation, incident_id, step, by), installation.clock()
    if not because.strip():
        raise UsageError("reason: missing. Add --because TEXT; it is kept with each letter.")
    rows = _waiting(installation, incident_id, step, marks)
    number = 0
    for start in range(0, len(rows), TRANSACTION_ROWS):
        part = rows[start : start + TRANSACTION_ROWS]
        reason = f"{THROWN_AWAY}, says {actor}: {because}"
        number += installation.ledger.notices.discard(part, reason, actor, now)
    return _require_letters(number, incident_id, step)


def record_returned(
    installation: Installation,
    incident_id: str,
    step: str,
    marks: Sequence[str],
    *,
    by: str | None = None,
) -> int:
    """Record that posted letters were returned; return their number.

    Raise UsageError for an unknown mark. A repeated report does not change the recorded time.
    """
    actor, now = _reporter(installation, incident_id, step, by), installation.clock()
    sent_letters = [
        row for row in _letters(installation, incident_id, step) if row.state is EffectState.DONE
    ]
    rows = _select_by_mark(sent_letters, marks, "was posted")
    stored = installation.ledger.deliveries.of_incident(incident_id)
    events = [
        DeliveryEvent(token=row.token, state=DeliveryState.BOUNCED, at=now)
        for row in rows
        if row.token not in stored or stored[row.token].state is not DeliveryState.BOUNCED
    ]
    installation.ledger.deliveries.store_reports(events, actor, now)
    return len(rows)


def waiting_letters(installation: Installation, incident_id: str) -> list[EffectRow]:
    """Return the written letters that nobody reported as posted."""
    return [
        row
        for row in _all_letters(installation, incident_id)
        if row.state is EffectState.UNKNOWN and row.is_parked
    ]


def include_waiting_letters(
    installation: Installation, state: State, found: "Sequence[Tally]"
) -> State:
    """Return the state with the number of waiting letters and their folder."""
    waiting = {
        tally.step: sum(missed.count for missed in tally.missed if missed.reason == WRITTEN)
        for tally in found
        if tally.verb == SEND
    }
    folder = " or ".join(
        str(sender.folder)
        for sender in installation.config.senders.values()
        if isinstance(sender, LettersSenderConfig)
    )

    def seen(view: StepView) -> StepView:
        return replace(view, letters=waiting.get(view.step, 0), letters_in=folder)

    return replace(
        state,
        steps={name: seen(view) for name, view in state.steps.items()},
        extra=tuple(map(seen, state.extra)),
    )


def _reporter(installation: Installation, incident_id: str, step: str, by: str | None) -> str:
    state = installation.ledger.incidents.state(incident_id)
    if not _letters(installation, incident_id, step):
        raise UsageError(
            f"step {step!r} of {incident_id}: it wrote no letters. See the channels with "
            f"`standfast notice accounting {incident_id}`."
        )
    return decision_actor(installation, state, step, by)


def _waiting(
    installation: Installation, incident_id: str, step: str, marks: Sequence[str]
) -> list[EffectRow]:
    waiting = [row for row in waiting_letters(installation, incident_id) if row.step == step]
    rows = _select_by_mark(waiting, marks, "waits to be posted")
    _require_letters(len(rows), incident_id, step)
    return rows


def _require_letters(number: int, incident_id: str, step: str) -> int:
    """Return the number of letters; raise UsageError if it is 0."""
    if not number:
        raise UsageError(f"step {step!r} of {incident_id}: no letter waits to be posted.")
    return number


def _letters(installation: Installation, incident_id: str, step: str) -> list[EffectRow]:
    return [row for row in _all_letters(installation, incident_id) if row.step == step]


def _all_letters(installation: Installation, incident_id: str) -> list[EffectRow]:
    messages = sent_messages(installation.ledger.database, installation.ledger.effects, incident_id)
    return [message.row for message in messages if message.row.target.startswith(POST)]


def _select_by_mark(
    rows: Sequence[EffectRow], marks: Sequence[str], condition: str
) -> list[EffectRow]:
    if not marks:
        return list(rows)
    found: dict[str, EffectRow] = {}  # by token, because a letter may be named twice
    for mark in marks:
        is_mark = len(mark) >= MARK_LENGTH
        matches = [row for row in rows if is_mark and row.token.startswith(mark.lower())]
        if not matches:
            raise UsageError(
                f"mark {mark!r}: no such letter {condition}. Read the mark at the foot of the "
                "letter."
            )
        if len(matches) > 1:  # two letters of a hundred thousand are likely to share a short prefix
            raise UsageError(
                f"mark {mark!r}: {len(matches)} letters match. Name the letter by its full id: in "
                f'the source of its page it follows id="letter-{mark}'
            )
        found[matches[0].token] = matches[0]
    return list(found.values())
