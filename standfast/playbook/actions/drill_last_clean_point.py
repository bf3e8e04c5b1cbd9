"""Find each backup set's newest recovery point without the indicators.

A recovery point is one restorable state of a backup set. Indicators are texts, paths or hashes that
show an intrusion. The search opens backups, so it needs the private key (identity) of a drill host,
a machine that restores backups for tests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from backup.records import INSTALLATION_SET
from standfast.playbook.actions.action import Action, ArgumentSpec, ArgumentType, Carrier, Planner
from standfast.playbook.actions.shared_arguments import INDICATORS
from standfast.playbook.planned_effects import Expansion
from standfast.records import JsonObject, Mode

if TYPE_CHECKING:
    from standfast.config.sections.services import ServiceConfig  # playbooks load without it

FIND = "drill.last_clean_point"
DRILL = "drill"  # the function of Standfast that the action calls


def _plan(arguments: JsonObject, planner: Planner) -> Expansion:
    configured, wanted = planner.config.backup.sets, arguments["sets"]
    data = [name for name in configured if name != INSTALLATION_SET]
    names = data if wanted == "all" else list(cast("Sequence[str]", wanted))
    if arguments["services"] is not None:
        needed = _sets_of(str(arguments["services"]), planner.config.services)
        names = [name for name in names if name in needed]
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


def _sets_of(names: str, services: Mapping[str, "ServiceConfig"]) -> set[str]:
    """Return the backup sets of services.

    `names` is "all", or has names separated by commas.
    """
    chosen = {name.strip() for name in names.split(",")}
    return {
        set_name
        for name, service in services.items()
        if name in chosen or chosen == {"all"}
        for set_name in service.sets
    }


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
        "services": ArgumentSpec(
            type=ArgumentType.TEXT,
            description="services by name, separated by commas: only their sets are searched",
        ),
        "indicators": replace(INDICATORS, required=True),
    },
    plan=_plan,
)
