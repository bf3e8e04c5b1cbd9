"""Render a notice and count its recipients, without sending it.

A notice is a message to the people that an incident concerns.
"""

from standfast.playbook.actions.action import Action, Carrier, Planner
from standfast.playbook.actions.shared_arguments import NOTICE
from standfast.playbook.planned_effects import Expansion
from standfast.records import JsonObject

PREPARE = "notices.prepare"
PREVIEW = "preview"  # the function of Standfast that the action calls


def _plan(arguments: JsonObject, planner: Planner) -> Expansion:
    return planner.notice_preview(PREPARE, PREVIEW, arguments)


ACTION = Action(
    verb=PREPARE,
    title="write the notice and count its recipients, without sending it",
    targets="notices",
    carrier=Carrier.PROCEDURES,
    method="run",
    arguments=NOTICE,
    plan=_plan,
    done="written",
    is_notice=True,
)
