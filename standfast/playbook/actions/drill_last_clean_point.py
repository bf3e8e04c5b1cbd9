"""Find each backup set's newest recovery point without the indicators."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from standfast.playbook.actions.action import Action, ArgumentSpec, ArgumentType, Carrier, Planner
from standfast.playbook.actions.shared_arguments import INDICATORS
from standfast.playbook.planned_effects import Expansion
from standfast.records import JsonObject, Mode

FIND = "drill.last_clean_point"
DRILL = "drill"  # the built-in procedure


def _plan(arguments: JsonObject, planner: Planner) -> Expansion:
    configured, wanted = planner.config.backup.sets, arguments["sets"]
    names = list(configured) if wanted == "all" else list(cast("Sequence[str]", wanted))
    details: JsonObject = {"indicators": list(cast("Sequence[str]", arguments["indicators"]))}
    planner.validate(DRILL, details)
    has_identity = planner.config.drills.identity is not None or planner.mode is Mode.EXERCISE
    drafts = []
    for name in dict.fromkeys(names):
        refusal = ""
        if name not in configured:
            refusal = "the configuration has no such backup set"
        elif not has_identity:
            refusal = "drills.identity is not set here. Set it on a drill host."
        drafts.append(planner.call(FIND, DRILL, f"{DRILL}:{name}", details, refusal=refusal))
    return Expansion(drafts=tuple(drafts))


ACTION = Action(
    verb=FIND,
    title="find the newest recovery point without the indicators",
    targets="backup sets",
    carrier=Carrier.PROCEDURES,
    method="run",
    arguments={
        "sets": ArgumentSpec(
            type=ArgumentType.SETS,
            default="all",
            description="all, or a list of backup sets by name",
        ),
        "indicators": replace(INDICATORS, required=True),
    },
    plan=_plan,
)
