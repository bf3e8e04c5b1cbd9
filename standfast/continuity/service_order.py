"""Recovery order of services; refusal of cycles and impossible RTOs.

Rules
- A service recovers after all services on which it depends. Independent services recover in
  parallel.
- A cycle is refused and named, because none of its services could be the first.
- If a service has a shorter RTO than one of its dependencies, it is refused, because that RTO
  cannot be met.
"""

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Protocol

from standfast.errors import ConfigurationError


class ServiceObjective(Protocol):
    """The objective of one service, as in `[services.NAME]`."""

    @property
    def rto_minutes(self) -> int: ...
    @property
    def depends_on(self) -> tuple[str, ...]: ...


def recovery_order(services: Mapping[str, ServiceObjective]) -> tuple[tuple[str, ...], ...]:
    """Return the services in waves, each sorted by name, in order of recovery.

    A wave is a group of services that recover in parallel.

    Raise `ConfigurationError` for a cycle, and for a service with a shorter RTO than a dependency.
    """
    sorter = TopologicalSorter({name: service.depends_on for name, service in services.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        cycle = " → ".join(reversed(error.args[1]))
        raise ConfigurationError(
            f"services: they depend on each other in a circle: {cycle}. "
            "Remove one of these `depends_on`."
        ) from None
    _refuse_impossible_objectives(services)
    waves = []
    while sorter.is_active():
        wave = tuple(sorted(sorter.get_ready()))
        waves.append(wave)
        sorter.done(*wave)
    return tuple(waves)


def _refuse_impossible_objectives(services: Mapping[str, ServiceObjective]) -> None:
    for name, service in services.items():
        for other in service.depends_on:
            needed = services[other].rto_minutes
            if service.rto_minutes < needed:
                raise ConfigurationError(
                    f"service {name}: its RTO is {service.rto_minutes} minutes, but it depends on "
                    f"{other} with an RTO of {needed} minutes. "
                    "Increase the first or reduce the second."
                )
