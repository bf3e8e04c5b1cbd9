"""Prove that holders of locked accounts cannot sign in; change nothing."""

from collections.abc import Iterator

from standfast.playbook.actions.action import Action, Carrier, Planner
from standfast.playbook.actions.shared_arguments import ACCOUNTS
from standfast.playbook.planned_effects import Expansion
from standfast.records import JsonObject

PROVE = "accounts.prove_locked"


def _plan(arguments: JsonObject, planner: Planner) -> Expansion:
    return planner.accounts(PROVE, arguments)


def _notes(adapter: str, planner: Planner) -> Iterator[str]:
    level = planner.directory(adapter).proof
    yield f"{adapter}: proof level `{level}`: {level.words}"


ACTION = Action(
    verb=PROVE,
    title="prove that the accounts cannot sign in, without changing anything",
    targets="accounts",
    carrier=Carrier.ACCOUNTS,
    method="prove",
    arguments={"accounts": ACCOUNTS},
    plan=_plan,
    done="proven locked",
    notes=_notes,
    is_for_locked_account=True,
)
