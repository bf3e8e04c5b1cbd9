"""Letters after they were written: that they were posted or thrown away, and that one came back.

Leaves writing them to `notices/senders/letters`, and what counts as told to `accounting`.

Rules
- A letter waits for a person: whoever posts it says so, with the day, and the timeline has who said
  it. Where the step names roles, only who has one of them may.
- What was said of a letter is not said again: saying it twice changes nothing. Of two who say it at
  once, the first counts; the other is told how many were left.
- A letter that came back is as a mail that bounced: its reader was not told.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from standfast.adapters.senders.letters import MARK_LENGTH, WRITTEN
from standfast.config.sections.senders import LettersSenderConfig
from standfast.errors import UsageError
from standfast.ledger.effects.effect_rows import EffectRow
from standfast.ledger.messages.sent_messages import sent_messages
from standfast.local_time import minute
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.run_state import State, StepView
from standfast.records import DeliveryEvent, DeliveryState, EffectState
from standfast.usecases.approvals.step_decisions import speaker
from standfast.usecases.core.installation import Installation
from standfast.usecases.notices.recipient_targets import POST

if TYPE_CHECKING:
    from standfast.usecases.incidents.result_summary import Tally

THROWN_AWAY = "thrown away unposted"  # begins the reason of a letter that nobody posts
_A_TRANSACTION = 500


def posted(
    installation: Installation,
    incident_id: str,
    step: str,
    *,
    at: datetime | None = None,
    marks: Sequence[str] = (),
    by: str | None = None,
) -> int:
    """Note that letters of a step were posted, all that are written or those of `marks`.

    Gives their number. UsageError when there are none, a mark is of none, or the day is to come or
    before the incident.
    """
    who, now = _who(installation, incident_id, step, by), installation.clock()
    at = at or now
    if at > now:
        raise UsageError("that time is still to come; say what was posted")
    opened = installation.ledger.incidents.get(incident_id).opened_at
    if at < opened:
        raise UsageError(
            f"{incident_id} was opened "
            f"{minute(opened, installation.config.organisation.time_zone)}, and "
            "no letter of it was there before; say when these were posted"
        )
    rows = _waiting(installation, incident_id, step, marks)
    number = 0
    for start in range(0, len(rows), _A_TRANSACTION):
        part = rows[start : start + _A_TRANSACTION]
        events = [DeliveryEvent(token=row.token, state=DeliveryState.TAKEN, at=at) for row in part]
        heard = installation.ledger.deliveries.hear(events, who, now, reason=f"posted, says {who}")
        number += heard.settled
    return _some(number, incident_id, step)


def discarded(
    installation: Installation,
    incident_id: str,
    step: str,
    because: str,
    *,
    marks: Sequence[str] = (),
    by: str | None = None,
) -> int:
    """Note that letters were thrown away unposted, all that are written or those of `marks`.

    Gives their number; their readers are not told. UsageError as `posted`.
    """
    who, now = _who(installation, incident_id, step, by), installation.clock()
    if not because.strip():
        raise UsageError("say why they are thrown away: --because TEXT; it is kept with each")
    rows = _waiting(installation, incident_id, step, marks)
    number = 0
    for start in range(0, len(rows), _A_TRANSACTION):
        part = rows[start : start + _A_TRANSACTION]
        why = f"{THROWN_AWAY}, says {who}: {because}"
        number += installation.ledger.notices.discard(part, why, who, now)
    return _some(number, incident_id, step)


def came_back(
    installation: Installation,
    incident_id: str,
    step: str,
    marks: Sequence[str],
    *,
    by: str | None = None,
) -> int:
    """Note that posted letters came back; give their number. UsageError for a mark of none.

    Again changes nothing: the moment of the first time stays.
    """
    who, now = _who(installation, incident_id, step, by), installation.clock()
    gone = [
        row for row in _letters(installation, incident_id, step) if row.state is EffectState.DONE
    ]
    rows = _meant(gone, marks, "was posted")
    heard = installation.ledger.deliveries.of_incident(incident_id)
    events = [
        DeliveryEvent(token=row.token, state=DeliveryState.BOUNCED, at=now)
        for row in rows
        if row.token not in heard or heard[row.token].state is not DeliveryState.BOUNCED
    ]
    installation.ledger.deliveries.hear(events, who, now)
    return len(rows)


def waiting_letters(installation: Installation, incident_id: str) -> list[EffectRow]:
    """Give the letters of an incident that are written, and that nobody has said to be posted."""
    return [
        row
        for row in _all_letters(installation, incident_id)
        if row.state is EffectState.UNKNOWN and row.is_parked
    ]


def include_waiting_letters(
    installation: Installation, state: State, found: "Sequence[Tally]"
) -> State:
    """Give the state with how many letters wait to be posted, as the tallies have it, and where."""
    waiting = {
        one.step: sum(missed.count for missed in one.missed if missed.reason == WRITTEN)
        for one in found
        if one.verb == SEND
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


def _who(installation: Installation, incident_id: str, step: str, by: str | None) -> str:
    state = installation.ledger.incidents.state(incident_id)
    if not _letters(installation, incident_id, step):
        raise UsageError(
            f"step {step!r} of {incident_id} wrote no letters; `standfast notice accounting "
            f"{incident_id}` says by which channel each was told"
        )
    return speaker(installation, state, step, by)


def _waiting(
    installation: Installation, incident_id: str, step: str, marks: Sequence[str]
) -> list[EffectRow]:
    waiting = [row for row in waiting_letters(installation, incident_id) if row.step == step]
    rows = _meant(waiting, marks, "waits to be posted")
    _some(len(rows), incident_id, step)
    return rows


def _some(number: int, incident_id: str, step: str) -> int:
    """Raise UsageError for none; of those that waited, somebody else may have been first."""
    if not number:
        raise UsageError(f"no letter of step {step!r} of {incident_id} waits to be posted")
    return number


def _letters(installation: Installation, incident_id: str, step: str) -> list[EffectRow]:
    return [row for row in _all_letters(installation, incident_id) if row.step == step]


def _all_letters(installation: Installation, incident_id: str) -> list[EffectRow]:
    messages = sent_messages(installation.ledger.database, installation.ledger.effects, incident_id)
    return [message.row for message in messages if message.row.target.startswith(POST)]


def _meant(rows: Sequence[EffectRow], marks: Sequence[str], what: str) -> list[EffectRow]:
    if not marks:
        return list(rows)
    found: dict[str, EffectRow] = {}  # by token: who is named twice is meant once
    for mark in marks:
        is_mark = len(mark) >= MARK_LENGTH
        there = [row for row in rows if is_mark and row.token.startswith(mark.lower())]
        if not there:
            raise UsageError(f"no letter {mark!r} {what}; its mark stands at its foot")
        if len(there) > 1:  # likely among a hundred thousand
            raise UsageError(
                f"{len(there)} letters bear the mark {mark!r}; name the right one by all of its "
                f'id: in the source of its page it follows id="letter-{mark}'
            )
        found[there[0].token] = there[0]
    return list(found.values())
