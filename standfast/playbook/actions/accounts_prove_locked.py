"""Prove that holders of locked accounts cannot sign in; change nothing."""

from collections.abc import Iterator

from standfast.playbook.actions.action import Action, Carrier, Planner
from standfast.playbook.actions.shared_arguments import ACCOUNTS
from standfast.playbook.planned_effects import Expansion
from standfast.records import JsonObject, Proof

PROVE = "accounts.prove_locked"

_LEVELS = {
    Proof.NONE: "nothing is shown",
    Proof.READ_BACK: "the directory shows the lock",
    Proof.CONNECTIONS_GONE: "no connection to the directory is open",
    Proof.SESSIONS_GONE: "no session and no token is left",
    Proof.REFUSED: "a sign-in is refused",
}


def _plan(arguments: JsonObject, planner: Planner) -> Expansion:
    return planner.accounts(PROVE, arguments)


def _notes(adapter: str, planner: Planner) -> Iterator[str]:
    level = planner.directory(adapter).proof
    yield f"{adapter}: proof level `{level}`: {_LEVELS[level]}"


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
