"""Preview of a recovery, and its scope: the sets of services, in order.

Data at a target is set aside before it is replaced: it gets a name that contains the incident's id.

Rules
- Only the named services are recovered. A service that a named one depends on is recovered only if
  it is named too, because it may be intact.
- A service comes after the services on which it depends.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from standfast.config import Config
from standfast.continuity.service_order import recovery_order
from standfast.errors import StandfastError, UsageError
from standfast.records import JsonObject
from standfast.suggestions import known_names_hint
from standfast.usecases.core.installation import Installation
from standfast.usecases.recovery.set_plan import SetPlan, plan_set

ALL = "all"


def sets_in_order(config: Config, names: str) -> dict[str, list[str]]:
    """Return the backup sets in order of recovery, each with its services.

    `names` is a list of services, separated by commas, or "all". Raise UsageError for an unknown
    service, and if none of the services has a set.
    """
    services = config.services
    chosen = named_services(config, names)
    found: dict[str, list[str]] = {}
    for name in (name for wave in recovery_order(services) for name in wave if name in chosen):
        for set_name in services[name].sets:
            found.setdefault(set_name, []).append(name)
    if not found:
        raise UsageError("services: none of them has a backup set. Add `sets` to a service.")
    return found


def named_services(config: Config, names: str) -> list[str]:
    """Return the named services; raise UsageError for an unknown name."""
    services = config.services
    if names.strip() == ALL:
        return list(services)
    chosen = [name.strip() for name in names.split(",")]
    for name in chosen:
        if name not in services:
            raise UsageError(
                f"service {name!r}: not configured; {known_names_hint(name, services)}"
            )
    return chosen


def omitted_dependencies(config: Config, names: str) -> dict[str, list[str]]:
    """Return the services that are needed but not named.

    The value of each one is the list of the named services that directly depend on it.
    """
    chosen = named_services(config, names)
    omitted: dict[str, list[str]] = {}
    for name in chosen:
        for other in config.services[name].depends_on:
            if other not in chosen:
                omitted.setdefault(other, []).append(name)
    return omitted


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
