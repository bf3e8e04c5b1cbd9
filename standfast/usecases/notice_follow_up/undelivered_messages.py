"""Whose message did not arrive, so that only a letter or another address reaches them.

Leaves telling them to `held`, and what counts as told to `accounting`.

Rules
- That is a mail that bounced or was not tried, as its channel told, and one that it refused to
  take; and a letter that came back. What is put off is still on its way.
- So is one that failed, once its words were corrected: nobody is sent those any more.
- What was stopped or thrown away was not meant to leave, except where it was to tell one person in
  the place of another message: they would be told nothing by either.
- Nobody is written to again by itself: a person names where to, as for whoever is held.
"""

from dataclasses import dataclass

from standfast.ledger.effects.effect_rows import EffectRow
from standfast.ledger.messages.sent_messages import individual_messages, sent_messages
from standfast.records import DeliveryState, EffectState
from standfast.usecases.core.installation import Installation
from standfast.usecases.notice_follow_up.letters import THROWN_AWAY
from standfast.usecases.notices.correction_history import newest_correction
from standfast.usecases.notices.delivery_accounting import APART
from standfast.usecases.notices.recipient_targets import MAIL, POST
from standfast.usecases.notices.staged_sending import STOPPED

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


def returned(installation: Installation, incident_id: str) -> list[Returned]:
    """Give every message of an incident's notices that came to nothing."""
    ledger = installation.ledger
    apart = individual_notice_steps(installation, incident_id)
    found = []
    corrected: dict[str, str] = {}
    for message in sent_messages(ledger.database, ledger.effects, incident_id):
        row, heard = message.row, message.delivery
        why = row.reason if _is_refused(row) else ""
        if row.state is EffectState.FAILED:
            if row.step not in corrected:
                corrected[row.step] = newest_correction(installation, incident_id, row.step)
            if name := corrected[row.step]:
                why = f"it failed, and {name} corrects its words: {row.reason}"
        if row.state is EffectState.DONE and heard is not None:
            why = _LOST.get(heard.state, "")
            if why and row.target.startswith(POST):
                why = "the letter came back"
        if why and row.target.startswith((MAIL, POST)):
            step = apart.get(row.token)
            found.append(Returned(row=row, why=why, decision=f"{APART} {step}" if step else ""))
    return found


def _is_refused(row: EffectRow) -> bool:
    """Did a channel refuse it? What no channel was ever asked about is no message."""
    if row.state is not EffectState.REFUSED:
        return False
    is_given_up = row.reason.startswith((STOPPED, THROWN_AWAY))
    return "settles" in row.details if is_given_up else row.tries > 0 and "@" in row.target


def individual_notice_steps(installation: Installation, incident_id: str) -> dict[str, str]:
    """Give the steps that tell somebody apart, by the message in whose place they do.

    None that an approver refused: it is as if nobody had asked for it.
    """
    refused = installation.ledger.steps.refused(incident_id)
    return {
        str(row.details["settles"]): row.step
        for row in individual_messages(installation.ledger.effects, incident_id)
        if "settles" in row.details and (row.step, row.round) not in refused
    }
