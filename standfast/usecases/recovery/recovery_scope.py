"""Scope of a recovery: the backup sets of the named services, in order.

The planning of an incident imports this module. Therefore this module imports no code that opens
backups, which loads slowly.

Rules
- Only the named services are recovered. A service that a named one depends on is recovered only if
  it is named too, because it may be intact.
- A service comes after the services on which it depends.
"""

from standfast.config import Config
from standfast.continuity.service_order import recovery_order
from standfast.errors import UsageError
from standfast.suggestions import known_names_hint

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
    """Return the unnamed services on which named services depend.

    The value of each service is the list of the named services that directly depend on it.
    """
    chosen = named_services(config, names)
    omitted: dict[str, list[str]] = {}
    for name in chosen:
        for other in config.services[name].depends_on:
            if other not in chosen:
                omitted.setdefault(other, []).append(name)
    return omitted
