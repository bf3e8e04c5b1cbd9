"""Actions that a playbook may name.

Each module defines one action: its arguments, planner, undo and approval rule. A planner computes
the effects of a step (each is one act on one target). An undo restores the state of the targets
before the action (their prior state). A verb is the name of an action.

    ACTIONS["accounts.lock"].undo   # "accounts.unlock"

The registry `ACTIONS` contains the `ACTION` of each module of this package, and the `UNDO` of a
module that defines one. To add an action, add its module and its test:

- `action.py` describes each field. Copy `accounts_lock.py` for an action on accounts, or
  `run_command.py` for an action that calls a procedure (a configured command or HTTP request, or a
  function of Standfast).
- The planner reads only through the interface `Planner`, and changes nothing.
- If the action needs a new method of an adapter or a new built-in procedure, add it in
  `standfast.adapters`.

Rules
- A verb exists only if a module here defines it, so that a playbook cannot run arbitrary code.
- An irreversible action is marked (`is_irreversible`). Its step needs an approval, or the reason
  why it needs none. The same rule applies to a command or request without an undo. The planner
  checks this case, because only the configuration shows whether a command has an undo.
- An undo is an action too. It cannot be a step, because it needs the recorded prior states.
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
    """Return the verbs of the actions for which `is_meant` returns True."""
    return frozenset(verb for verb, action in ACTIONS.items() if is_meant(action))
