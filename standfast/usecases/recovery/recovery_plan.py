"""Preview of a recovery: recovery points, targets, data to set aside.

Data at a target is set aside before it is replaced: it gets a name that contains the incident's id.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from standfast.errors import StandfastError
from standfast.records import JsonObject
from standfast.usecases.core.installation import Installation
from standfast.usecases.recovery.recovery_scope import omitted_dependencies, sets_in_order
from standfast.usecases.recovery.set_plan import SetPlan, plan_set

PREVIEW = "INCIDENT"  # replaces the id in a preview, because no incident exists yet


@dataclass(frozen=True, kw_only=True)
class RecoveryPlan:
    """The backup sets of a recovery in order, and those that are refused."""

    sets: Mapping[str, SetPlan]
    refused: Mapping[str, str]  # by set: the reason why it cannot be recovered
    omitted: Mapping[str, list[str]]  # by service that was not named: the services that need it

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "sets": {name: plan.as_json() for name, plan in self.sets.items()},
            "refused": dict(self.refused),
            "omitted": dict(self.omitted),
        }


def plan_recovery(installation: Installation, services: str, point: str) -> RecoveryPlan:
    """Return what a recovery would restore and rename; change nothing.

    `services` is a list of names, separated by commas, or "all".
    """
    sets: dict[str, SetPlan] = {}
    refused: dict[str, str] = {}
    for set_name, names in sets_in_order(installation.config, services).items():
        try:
            sets[set_name] = plan_set(
                installation, PREVIEW, set_name, point, names, is_preview=True
            )
        except StandfastError as error:
            refused[set_name] = str(error)
    omitted = omitted_dependencies(installation.config, services)
    return RecoveryPlan(sets=sets, refused=refused, omitted=omitted)
