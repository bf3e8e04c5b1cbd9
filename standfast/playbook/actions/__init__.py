"""Actions that a playbook may name.

Each module defines one action: its arguments, planner, undo and approval rule.

    ACTIONS["accounts.lock"].undo   # "accounts.unlock"

The registry has each module of this package that defines an `ACTION`, and an `UNDO` if something
restores the prior state. To add an action, add its module and its test:

- `action.py` describes each field: arguments, documentation, undo, carrier, result word, approval
  rule and planner. Copy `run_command.py` (calls a procedure) or `accounts_lock.py` (accounts).
- The planner reads through `Planner` only and changes nothing.
- A new kind of adapter method or built-in procedure comes with its adapter.

Rules
- A verb without a module here does not exist: a playbook cannot name code.
- An irreversible action is marked, and then needs an approval or a reason for none. Only the
  configuration says whether a command or a request has an undo. The planning of a step therefore
  refuses a command or request that has no undo if the step has no approval.
- An undo is an action too. It cannot be a step, because it needs the prior states.
- Other code names a verb by the constant of its module, never as text.
"""

import pkgutil
from collections.abc import Callable, Mapping
from importlib import import_module

from standfast.playbook.actions.action import Action

_modules = [import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
ACTIONS: Mapping[str, Action] = {
    action.verb: action
    for module in _modules
    for name in ("ACTION", "UNDO")
    if (action := getattr(module, name, None))
}


def verbs_where(is_meant: Callable[[Action], bool]) -> frozenset[str]:
    """Return the verbs of the actions with a property."""
    return frozenset(verb for verb, action in ACTIONS.items() if is_meant(action))
