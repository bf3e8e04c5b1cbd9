"""Steps that people asked for beside the playbook: undos, corrections, telling who was held."""

from standfast.playbook.actions.accounts_lock import UNLOCK
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.run_state import HELD_STEP_PREFIX

CORRECTS = "correction-"
_TITLES = {
    CORRECTS: "Correct a notice",
    HELD_STEP_PREFIX: "Tell somebody who was held, or whom no message reached",
}
_UNDO = "Give accounts back what they had before"


def additional_step_title(step: str) -> str:
    """Say in words what a step does that no playbook names."""
    return next((title for start, title in _TITLES.items() if step.startswith(start)), _UNDO)


def additional_step_verb(step: str) -> str:
    """Give the verb of its effects."""
    return SEND if step.startswith((*_TITLES,)) else UNLOCK
