"""Run a command that the configuration allows, or its undo."""

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

RUN, UNDO_RUN = "run.command", "run.undo"


def _plan(arguments: JsonObject, planner: Planner) -> Expansion:
    return planner.calls(RUN, f"commands.{arguments['command']}", arguments)


ACTION = Action(
    verb=RUN,
    title="run a command that the configuration allows",
    targets="targets",
    carrier=Carrier.PROCEDURES,
    method="run",
    arguments={
        "command": ArgumentSpec(
            type=ArgumentType.COMMAND, required=True, description="the command, by name"
        ),
        **CALL,
    },
    plan=_plan,
    undo=UNDO_RUN,
    keeps_prior_state=True,
)
UNDO = Action(
    verb=UNDO_RUN,
    title="run the command's own undo",
    targets="targets",
    carrier=Carrier.PROCEDURES,
    method="undo",
    done="undone",
    use=Use.UNDO,
)
