"""Restore services from their backups to their real targets.

Existing data is set aside, and an undo puts it back.
"""

from standfast.playbook.actions.action import (
    Action,
    ArgumentSpec,
    ArgumentType,
    Carrier,
    Planner,
    Use,
)
from standfast.playbook.planned_effects import Expansion
from standfast.records import JsonObject

RECOVER, RETURN = "service.recover", "service.return"
RECOVERY = "recovery"  # the function of Standfast that the action calls


def _plan(arguments: JsonObject, planner: Planner) -> Expansion:
    return planner.recoveries(arguments)


ACTION = Action(
    verb=RECOVER,
    title="restore services from backup, and set existing data aside",
    targets="backup sets",
    carrier=Carrier.PROCEDURES,
    method="run",
    arguments={
        "services": ArgumentSpec(
            type=ArgumentType.TEXT,
            required=True,
            description="services by name, separated by commas, or all",
        ),
        "point": ArgumentSpec(
            type=ArgumentType.TEXT,
            default="newest",
            description="newest, a time before which the recovery point was written, or clean: "
            "the point that drill.last_clean_point found in this incident",
        ),
    },
    plan=_plan,
    done="recovered",
    undo=RETURN,
    names_people=False,
)
UNDO = Action(
    verb=RETURN,
    title="put the data back that was there before the recovery",
    targets="backup sets",
    carrier=Carrier.PROCEDURES,
    method="undo",
    done="returned",
    use=Use.UNDO,
    names_people=False,
)
