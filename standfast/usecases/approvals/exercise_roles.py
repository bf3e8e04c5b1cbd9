"""What an exercise stands in for: what this place lacks to carry the playbook out live.

Rules
- A role that nobody here has is played by whoever runs the exercise; an approval is not: that there
  is nobody to give one is what the exercise is to show.
"""

from collections.abc import Sequence

from standfast.playbook.model import Playbook
from standfast.playbook.validation.playbook_rules import check
from standfast.records import Mode
from standfast.usecases.core.installation import Installation
from standfast.usecases.playbooks.library import known

# By the family of a step's action: what it needs, and the section that has it.
_NEEDED = {
    "accounts": ("a directory of accounts", "accounts"),
    "evidence": ("logs to keep", "evidence"),
    "notices": ("a sender of notices", "senders"),
}


def is_role_played(installation: Installation, mode: Mode, roles: Sequence[str]) -> bool:
    """May whoever runs it speak for these roles? In an exercise, where nobody here has one."""
    return mode is Mode.EXERCISE and bool(roles) and not installation.ledger.people.all(roles)


def stood_in_for(installation: Installation, playbook: Playbook) -> list[str]:
    """Say what the playbook needs and the place has not, each with what to add."""
    config = installation.config
    used = {(step.action or "").partition(".")[0] for step in playbook.steps}
    lacking = [
        f"{what}: add [{section}.NAME]"
        for family, (what, section) in _NEEDED.items()
        if family in used and not getattr(config, section)
    ]
    lacking += [
        f"{problem.message}: {problem.hint}" if problem.hint else problem.message
        for problem in check(playbook, known(config))
    ]
    asked = [step.approval.roles if step.approval else step.roles for step in playbook.steps]
    return lacking + [
        f"nobody here is {' or '.join(roles)}, so whoever runs the exercise answers, without "
        f"--as: `standfast people add NAME --role {roles[0]}`"
        for roles in dict.fromkeys(asked)
        if roles and not installation.ledger.people.all(roles)
    ]
