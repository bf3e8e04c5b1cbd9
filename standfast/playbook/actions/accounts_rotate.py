"""Set new passwords, encrypted to the people that may read them."""

from collections.abc import Iterator

from standfast.playbook.actions.action import Action, Carrier, Planner
from standfast.playbook.actions.shared_arguments import ACCOUNTS
from standfast.playbook.planned_effects import Expansion
from standfast.plurals import counted
from standfast.records import JsonObject

ROTATE = "accounts.rotate"


def _plan(arguments: JsonObject, planner: Planner) -> Expansion:
    return planner.accounts(ROTATE, arguments)


def _notes(adapter: str, planner: Planner) -> Iterator[str]:
    rotation = planner.config.rotation
    if rotation is not None:
        keys = counted(len(rotation.recipients), "key")
        yield f"{adapter}: new passwords are encrypted to {keys}, in {rotation.folder}"


ACTION = Action(
    verb=ROTATE,
    title="set new passwords, encrypted to the people that may open them",
    targets="accounts",
    carrier=Carrier.ACCOUNTS,
    method="rotate",
    arguments={"accounts": ACCOUNTS},
    plan=_plan,
    done="given new passwords",
    is_irreversible=True,
    notes=_notes,
    keeps_holder_out=True,  # the holder does not know the new password
    is_for_locked_account=True,
    settings=("rotation",),
)
