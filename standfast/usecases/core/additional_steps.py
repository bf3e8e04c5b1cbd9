"""Titles and acts of steps outside the playbook, such as undos.

A playbook is the file with the steps of the response to one kind of incident. A notice is a message
to the people that an incident concerns. People can add three kinds of steps to an incident:

- An undo restores targets, such as locked accounts, to their state before a step.
- A correction is a second notice to the recipients of a wrong notice.
- An individual notice is for one recipient about whom a person had to decide, or whom the first
  notice did not reach.
"""

from standfast.playbook.actions.accounts_lock import UNLOCK
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.run_state import HELD_STEP_PREFIX

CORRECTS = "correction-"
_TITLES = {CORRECTS: "Correct a notice", HELD_STEP_PREFIX: "Notify a held or unreached recipient"}
_UNDO = "Restore targets to their prior state"


def additional_step_title(step: str) -> str:
    """Return the title of a step that is not in the playbook."""
    return next((title for start, title in _TITLES.items() if step.startswith(start)), _UNDO)


def additional_step_verb(step: str) -> str:
    """Return the act of the step on each target: a message or an unlock."""
    return SEND if step.startswith((*_TITLES,)) else UNLOCK
