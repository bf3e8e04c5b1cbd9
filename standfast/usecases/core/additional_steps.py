"""Steps outside the playbook: undos, corrections, individual notices."""

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
    """Return the verb of the step's effects."""
    return SEND if step.startswith((*_TITLES,)) else UNLOCK
