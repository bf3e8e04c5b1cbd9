"""Send an HTTP request that the configuration allows, or its undo."""

from standfast.playbook.actions.action import (
    Action,
    ArgumentSpec,
    ArgumentType,
    Carrier,
    Planner,
    Use,
)
from standfast.playbook.actions.shared_arguments import CALL
from standfast.playbook.planned_effects import Expansion
from standfast.records import JsonObject

REQUEST, UNDO_REQUEST = "http.request", "http.undo"


def _plan(arguments: JsonObject, planner: Planner) -> Expansion:
    return planner.calls(REQUEST, f"requests.{arguments['request']}", arguments)


ACTION = Action(
    verb=REQUEST,
    title="send a request that the configuration allows",
    targets="targets",
    carrier=Carrier.PROCEDURES,
    method="run",
    arguments={
        "request": ArgumentSpec(
            type=ArgumentType.REQUEST, required=True, description="the request, by name"
        ),
        **CALL,
    },
    plan=_plan,
    undo=UNDO_REQUEST,
    keeps_prior_state=True,
)
UNDO = Action(
    verb=UNDO_REQUEST,
    title="send the request's own undo",
    targets="targets",
    carrier=Carrier.PROCEDURES,
    method="undo",
    done="undone",
    use=Use.UNDO,
)
