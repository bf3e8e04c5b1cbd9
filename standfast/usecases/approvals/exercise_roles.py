"""Roles and adapters that an installation lacks for an exercise.

An exercise runs a playbook (the file that describes the response to one kind of incident) against
simulators. A role decides what a person may approve and answer.

Rules
- If nobody in this installation has a role, the person that runs an exercise plays this role and
  answers its questions.
- The person that runs the exercise does not approve steps for a missing role: the exercise shows
  that nobody can approve them.
"""

from collections.abc import Sequence

from standfast.playbook.model import Playbook
from standfast.playbook.validation.playbook_rules import check
from standfast.records import Mode
from standfast.usecases.core.installation import Installation
from standfast.usecases.playbooks.library import known_names

# By family of the action: the needed part, and its section in the configuration.
_NEEDED = {
    "accounts": ("a directory of accounts", "accounts"),
    "evidence": ("logs to keep", "evidence"),
    "notices": ("a sender of notices", "senders"),
}


def is_role_played(installation: Installation, mode: Mode, roles: Sequence[str]) -> bool:
    """Return whether the person that runs an exercise plays these roles."""
    return mode is Mode.EXERCISE and bool(roles) and not installation.ledger.people.all(roles)


def missing_parts(installation: Installation, playbook: Playbook) -> list[str]:
    """Return the missing parts and roles of a playbook, each with its remedy."""
    config = installation.config
    used = {(step.action or "").partition(".")[0] for step in playbook.steps}
    lacking = [
        f"{part}: add [{section}.NAME]"
        for family, (part, section) in _NEEDED.items()
        if family in used and not getattr(config, section)
    ]
    lacking += [
        f"{problem.message}: {problem.hint}" if problem.hint else problem.message
        for problem in check(playbook, known_names(config))
    ]
    asked = [step.approval.roles if step.approval else step.roles for step in playbook.steps]
    return lacking + [
        (
            f"nobody has the role {' or '.join(roles)}, so the person that runs the exercise "
            "answers, without --as. To enrol somebody: "
            f"`standfast people add NAME --role {roles[0]}`"
        )
        for roles in dict.fromkeys(asked)
        if roles and not installation.ledger.people.all(roles)
    ]
