"""Open recipients when an incident ends: held, unposted, unapproved.

An open recipient has not been notified, because a person must act first. A held recipient, such as
a minor, waits for a decision. A letter waits until it is posted, and a notice (a message to the
people that the incident concerns) until it is approved. Open recipients do not prevent the closing
of an incident; the person that closes it is shown their number.
"""

from dataclasses import dataclass

from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.run_state import State
from standfast.plurals import counted
from standfast.records import JsonObject, StepState
from standfast.usecases.core.installation import Installation
from standfast.usecases.notice_follow_up.held_recipients import list_held
from standfast.usecases.notice_follow_up.letters import waiting_letters


@dataclass(frozen=True, kw_only=True)
class OpenRecipients:
    """The numbers of recipients and notices that are still open."""

    held: int  # held recipients without a decision
    letters: int  # letters that were written, but not reported as posted
    unapproved: int  # notices that wait for an approval

    @property
    def sentence(self) -> str:
        """The numbers in words; "" if nothing is open."""
        parts = []
        if self.held:
            parts.append(f"{counted(self.held, 'held person', 'held people')} undecided")
        if self.letters:
            parts.append(f"{counted(self.letters, 'letter')} not posted")
        if self.unapproved:
            parts.append(f"{counted(self.unapproved, 'notice')} not approved")
        return ", ".join(parts)

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "held_undecided": self.held,
            "letters_not_posted": self.letters,
            "notices_not_approved": self.unapproved,
        }


def open_recipients(installation: Installation, state: State) -> OpenRecipients:
    """Count the open recipients of an incident, open or closed."""
    sends = {step.name for step in state.playbook.steps if step.action == SEND}
    # Include corrections and individual notices, which are not steps of the playbook.
    sends |= {row.step for row in installation.ledger.notices.of_incident(state.incident)}
    return OpenRecipients(
        held=sum(not recipient.decision for recipient in list_held(installation, state.incident)),
        letters=len(waiting_letters(installation, state.incident)),
        unapproved=sum(
            view.state is StepState.ASKING and view.step in sends
            for view in (*state.steps.values(), *state.extra)
        ),
    )
