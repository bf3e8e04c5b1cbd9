"""What closing an incident leaves undone about people: held, not posted, not approved.

Refuses nothing: closing is a person's decision, and this counts what it leaves.
"""

from dataclasses import dataclass

from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.run_state import State
from standfast.plurals import counted
from standfast.records import JsonObject, StepState
from standfast.usecases.core.installation import Installation
from standfast.usecases.notice_follow_up.held_recipients import held
from standfast.usecases.notice_follow_up.letters import waiting_letters


@dataclass(frozen=True, kw_only=True)
class OpenRecipients:
    """How much of telling people stays undone."""

    held: int  # people about whom nobody decided
    letters: int  # written, and not said to be posted
    unapproved: int  # notices that wait for an approval

    @property
    def sentence(self) -> str:
        """Say it for people; empty when nothing is left."""
        told = []
        if self.held:
            told.append(f"{counted(self.held, 'held person', 'held people')} undecided")
        if self.letters:
            told.append(f"{counted(self.letters, 'letter')} not posted")
        if self.unapproved:
            told.append(f"{counted(self.unapproved, 'notice')} not approved")
        return ", ".join(told)

    def as_json(self) -> JsonObject:
        """Give it for `--json`."""
        return {
            "held_undecided": self.held,
            "letters_not_posted": self.letters,
            "notices_not_approved": self.unapproved,
        }


def open_recipients(installation: Installation, state: State) -> OpenRecipients:
    """Count what an incident leaves undone as it stands, open or closed."""
    sends = {step.name for step in state.playbook.steps if step.action == SEND}
    # Corrections, and what tells somebody who was held, are no steps of the playbook.
    sends |= {row.step for row in installation.ledger.notices.of_incident(state.incident)}
    return OpenRecipients(
        held=sum(not one.decision for one in held(installation, state.incident)),
        letters=len(waiting_letters(installation, state.incident)),
        unapproved=sum(
            view.state is StepState.ASKING and view.step in sends
            for view in (*state.steps.values(), *state.extra)
        ),
    )
