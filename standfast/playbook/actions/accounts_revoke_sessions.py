"""End sessions, refresh tokens and keys of accounts.

The action has no undo, but is not marked irreversible: after a new sign-in, the account works as
before.
"""

from standfast.playbook.actions.action import Action, Carrier, Planner
from standfast.playbook.actions.shared_arguments import ACCOUNTS
from standfast.playbook.planned_effects import Expansion
from standfast.records import JsonObject

REVOKE = "accounts.revoke_sessions"


def _plan(arguments: JsonObject, planner: Planner) -> Expansion:
    return planner.accounts(REVOKE, arguments)


ACTION = Action(
    verb=REVOKE,
    title="end sessions, refresh tokens and keys",
    targets="accounts",
    carrier=Carrier.ACCOUNTS,
    method="revoke",
    arguments={"accounts": ACCOUNTS},
    plan=_plan,
    done="signed out",
    keeps_holder_out=True,  # a person without a session cannot work
    is_for_locked_account=True,
)
