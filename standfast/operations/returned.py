"""Whose mail did not arrive, so that only a letter or another address reaches them.

Leaves telling them to `held`, and what counts as told to `accounting`.

Rules
- That is a mail that bounced or was not tried, as its channel told, and one that it refused to
  take. What is put off is still on its way; what was stopped was not meant to leave.
- Nobody is written to again by itself: a person names where to, as for whoever is held.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from standfast.ledger.effects import EffectRow
from standfast.operations.accounting import APART
from standfast.operations.place import Place
from standfast.operations.targets import MAIL
from standfast.operations.waves import STOPPED
from standfast.records import DeliveryState, EffectState

_SEND = "notices.send"
_LOST = {
    DeliveryState.BOUNCED: "the mail bounced",
    DeliveryState.DROPPED: "the provider did not try",
}


@dataclass(frozen=True, kw_only=True)
class Returned:
    """One message that did not arrive."""

    row: EffectRow
    why: str
    decision: str  # empty while nobody is told apart


def returned(place: Place, incident_id: str) -> list[Returned]:
    """Give every mail of an incident's notices that came to nothing."""
    rows = [row for row in place.ledger.effects.of_incident(incident_id) if row.verb == _SEND]
    apart = _told_apart(place, incident_id, rows)
    heard = place.ledger.deliveries.of_incident(incident_id)
    found = []
    for row in rows:
        why = row.reason if _is_refused(row) else ""
        if row.state is EffectState.DONE and row.token in heard:
            why = _LOST.get(heard[row.token].state, "")
        if why and row.target.startswith(MAIL):
            step = apart.get(row.token)
            found.append(Returned(row=row, why=why, decision=f"{APART} {step}" if step else ""))
    return found


def _is_refused(row: EffectRow) -> bool:
    """Did a channel refuse it? What no channel was ever asked about is no mail."""
    return (
        row.state is EffectState.REFUSED
        and row.tries > 0
        and "@" in row.target
        and not row.reason.startswith(STOPPED)
    )


def _told_apart(place: Place, incident_id: str, rows: Sequence[EffectRow]) -> dict[str, str]:
    """Give the steps that tell somebody anew, by the message that told them nothing."""
    refused = place.ledger.steps.refused(incident_id)
    return {
        str(row.details["settles"]): row.step
        for row in rows
        if "settles" in row.details and (row.step, row.round) not in refused
    }
