"""Undelivered messages (bounced, failed, returned) and their replacement.

A notice is a message to the people that an incident concerns. An individual message is a message to
one recipient that replaces the recipient's message of a notice.

Rules
- A mail is undelivered if it bounced, if the provider did not try to deliver it, or if the channel
  refused it. A deferred mail is not undelivered, because it may still arrive.
- A letter is undelivered if it was returned.
- A failed message is undelivered if its text was corrected: it is not retried, because a wrong text
  is never sent again.
- A message that a person stopped or discarded is not undelivered, except an individual message:
  its recipient would otherwise receive neither message.
- No second message is sent automatically: a person decides and names the address.
"""

from dataclasses import dataclass

from standfast.ledger.effects.effect_rows import EffectRow
from standfast.ledger.messages.sent_messages import individual_messages, sent_messages
from standfast.records import DeliveryState, EffectState
from standfast.usecases.core.installation import Installation
from standfast.usecases.notice_follow_up.letters import THROWN_AWAY
from standfast.usecases.notices.correction_history import newest_correction
from standfast.usecases.notices.delivery_accounting import NOTIFIED_BY_STEP
from standfast.usecases.notices.delivery_plan import MAIL, POST
from standfast.usecases.notices.staged_sending import STOPPED

_LOST = {
    DeliveryState.BOUNCED: "the mail bounced",
    DeliveryState.DROPPED: "the provider did not try to deliver it",
}


@dataclass(frozen=True, kw_only=True)
class UndeliveredMessage:
    """One undelivered message."""

    row: EffectRow
    why: str
    decision: str  # "" unless an individual notice is planned


def list_undelivered(installation: Installation, incident_id: str) -> list[UndeliveredMessage]:
    """Return every undelivered message of an incident's notices."""
    ledger = installation.ledger
    individual = individual_notice_steps(installation, incident_id)
    found = []
    corrected: dict[str, str] = {}
    for message in sent_messages(ledger.database, ledger.effects, incident_id):
        row, delivery = message.row, message.delivery
        why = row.reason if _is_refused(row) else ""
        if row.state is EffectState.FAILED:
            if row.step not in corrected:
                corrected[row.step] = newest_correction(installation, incident_id, row.step)
            if name := corrected[row.step]:
                why = f"the message failed, and {name} corrects its text: {row.reason}"
        if row.state is EffectState.DONE and delivery is not None:
            why = _LOST.get(delivery.state, "")
            if why and row.target.startswith(POST):
                why = "the letter came back"
        if why and row.target.startswith((MAIL, POST)):
            step = individual.get(row.token)
            found.append(
                UndeliveredMessage(
                    row=row, why=why, decision=f"{NOTIFIED_BY_STEP} {step}" if step else ""
                )
            )
    return found


def _is_refused(row: EffectRow) -> bool:
    """Return whether a message is undelivered because it was refused.

    True for a mail that the channel refused, and for an individual message that a person stopped or
    discarded. False for a message that was refused before any call to a channel.
    """
    if row.state is not EffectState.REFUSED:
        return False
    is_given_up = row.reason.startswith((STOPPED, THROWN_AWAY))
    return "settles" in row.details if is_given_up else row.tries > 0 and "@" in row.target


def individual_notice_steps(installation: Installation, incident_id: str) -> dict[str, str]:
    """Return the steps of individual notices, by the replaced message.

    Individual notices that an approver refused are omitted.
    """
    refused = installation.ledger.steps.refused(incident_id)
    return {
        str(row.details["settles"]): row.step
        for row in individual_messages(installation.ledger.effects, incident_id)
        if "settles" in row.details and (row.step, row.round) not in refused
    }
