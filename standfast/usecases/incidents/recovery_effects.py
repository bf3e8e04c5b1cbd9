"""Effects of a recovery, one for each backup set, and needed approvals.

A backup set is a group of sources that are backed up together. An effect is one act on one target,
here the recovery of one backup set for the services that need it.

Rules
- If a folder, database or bucket to be restored contains data, the recovery sets this data aside
  under another name. The step then needs the approval of a second person.
- An exercise (a run against simulators) does not read these targets, and always needs the approval.
  If no services are configured, an exercise uses each given name as a service and as its set.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from standfast.adapters.factory import Adapters
from standfast.errors import StandfastError
from standfast.playbook.actions.service_recover import RECOVER, RECOVERY
from standfast.playbook.model import Step
from standfast.playbook.planned_effects import Draft, Expansion
from standfast.plurals import counted
from standfast.records import EffectState, JsonObject, Mode
from standfast.usecases.incidents.procedure_effects import call_effect
from standfast.usecases.recovery.recovery_scope import sets_in_order


def recovery_effects(step: Step, arguments: JsonObject, adapters: Adapters) -> Expansion:
    """Plan the recovery of each set of the named services."""
    drafts = []
    for set_name, services in _sets(adapters, str(arguments["services"])).items():
        details: JsonObject = {
            "point": arguments["point"],
            "services": list(services),
            "is_preview": adapters.mode is Mode.PLAN,
        }
        refusal = ""
        try:
            details = adapters.procedure(RECOVERY).prepare(set_name, details)
        except StandfastError as error:
            refusal = str(error)
        target = f"{RECOVERY}:{set_name}"
        drafts.append(
            call_effect(step, RECOVER, RECOVERY, target, details, adapters, refusal=refusal)
        )
    replaced = sum(_replaced(draft) for draft in drafts)
    is_exercise = adapters.mode is Mode.EXERCISE
    return Expansion(
        drafts=tuple(drafts),
        needs_approvals=1 if replaced or is_exercise else 0,
        reason=f"{counted(replaced, 'target')} with data, which is set aside" if replaced else "",
    )


def _sets(adapters: Adapters, names: str) -> Mapping[str, list[str]]:
    """Return the sets with their services.

    An exercise without configured services uses each name as the name of a service and a set.
    """
    if adapters.mode is Mode.EXERCISE and not adapters.config.services:
        return {name.strip(): [name.strip()] for name in names.split(",")}
    return sets_in_order(adapters.config, names)


def _replaced(draft: Draft) -> int:
    """Return the number of folders, databases and buckets that contain data."""
    if draft.state is EffectState.REFUSED:
        return 0
    return sum(
        bool(target["has_data"])
        for kind in ("targets", "databases", "buckets")
        for target in cast("Sequence[Mapping[str, object]]", draft.details.get(kind) or ())
    )
