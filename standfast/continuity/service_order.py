"""Recovery order of services, and their tree; refusal of impossible RTOs.

Rules
- A service recovers after all services on which it depends. Independent services recover in
  parallel.
- A cycle of dependencies is an error, because none of its services could be the first.
- It is an error if a service has a shorter RTO than a service on which it depends, because this RTO
  cannot be met.
"""

from collections.abc import Iterator, Mapping, Sequence
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


def dependency_tree(dependencies: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a tree with each service above its dependencies.

    `dependencies` has a key for each service, and no cycle. The roots are the services on which no
    other service depends. If several services depend on one service, this service has several
    lines. Its own dependencies are drawn below the first; the other lines end with "(see above)".
    """
    needed = {name for names in dependencies.values() for name in names}
    drawn: set[str] = set()
    for name in dependencies:
        if name not in needed:
            yield name
            yield from _branches(dependencies, name, "", drawn)


def _branches(
    dependencies: Mapping[str, Sequence[str]], service: str, indent: str, drawn: set[str]
) -> Iterator[str]:
    drawn.add(service)
    names = dependencies[service]
    for number, name in enumerate(names, 1):
        is_last = number == len(names)
        is_repeated = name in drawn and dependencies[name]
        yield f"{indent}{'└─' if is_last else '├─'} {name}{' (see above)' if is_repeated else ''}"
        if not is_repeated:
            yield from _branches(dependencies, name, indent + ("   " if is_last else "│  "), drawn)
