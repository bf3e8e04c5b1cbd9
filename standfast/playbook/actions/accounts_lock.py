"""Lock accounts and end their sessions; undo restores the prior state."""

from collections.abc import Iterator

from standfast.playbook.actions.action import (
    Action,
    ArgumentSpec,
    ArgumentType,
    Carrier,
    Planner,
    Use,
)
from standfast.playbook.actions.shared_arguments import ACCOUNTS
from standfast.playbook.planned_effects import Expansion
from standfast.records import JsonObject

LOCK, UNLOCK = "accounts.lock", "accounts.unlock"


def _plan(arguments: JsonObject, planner: Planner) -> Expansion:
    return planner.accounts(LOCK, arguments, shows_obstacles=True)


def _notes(adapter: str, planner: Planner) -> Iterator[str]:
    directory = planner.directory(adapter)
    if "revoke" not in directory.verbs:
        yield f"{adapter}: open sessions cannot be ended there"
    yield from (f"{adapter}: {loss}" for loss in directory.irreversible)


ACTION = Action(
    verb=LOCK,
    title="lock the accounts in every directory that knows them, and end their sessions",
    targets="accounts",
    carrier=Carrier.ACCOUNTS,
    method="lock",
    arguments={
        "accounts": ACCOUNTS,
        "reason": ArgumentSpec(
            type=ArgumentType.TEXT, default="", description="why, for the timeline"
        ),
    },
    plan=_plan,
    done="locked",
    undo=UNLOCK,
    notes=_notes,
    keeps_prior_state=True,
    keeps_holder_out=True,
)
UNDO = Action(
    verb=UNLOCK,
    title="restore the accounts to their prior state",
    targets="accounts",
    carrier=Carrier.ACCOUNTS,
    method="undo",
    arguments={"accounts": ACCOUNTS},
    done="restored",
    use=Use.UNDO,
)
