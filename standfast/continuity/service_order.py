"""Services, and the order in which they can come back.

Rules
- A service comes back after everything it stands on; those that stand on nothing of each other come
  back side by side.
- A cycle is refused and named: nothing in it could ever be first.
- A service that is promised sooner than something it stands on is refused: that cannot be kept.
"""

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Protocol

from standfast.errors import ConfigurationError


class Promised(Protocol):
    """What is promised for one service; `[services.NAME]` of the configuration is one."""

    @property
    def rto_minutes(self) -> int: ...
    @property
    def depends_on(self) -> tuple[str, ...]: ...


def recovery_order(services: Mapping[str, Promised]) -> tuple[tuple[str, ...], ...]:
    """Give the services in waves, each sorted by name; a wave starts when the one before is back.

    Raises `ConfigurationError` for a cycle, and for a service that is promised sooner than what it
    stands on.
    """
    sorter = TopologicalSorter({name: service.depends_on for name, service in services.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        cycle = " → ".join(reversed(error.args[1]))
        raise ConfigurationError(
            f"services that depend on each other in a circle can never come back: {cycle}; "
            "drop one of these `depends_on`"
        ) from None
    _refuse_promises_that_cannot_be_kept(services)
    waves = []
    while sorter.is_active():
        wave = tuple(sorted(sorter.get_ready()))
        waves.append(wave)
        sorter.done(*wave)
    return tuple(waves)


def _refuse_promises_that_cannot_be_kept(services: Mapping[str, Promised]) -> None:
    for name, service in services.items():
        for other in service.depends_on:
            needed = services[other].rto_minutes
            if service.rto_minutes < needed:
                raise ConfigurationError(
                    f"service {name} is promised back within {service.rto_minutes} minutes, but it "
                    f"stands on {other}, which is promised within {needed}; "
                    "promise the first later or the second sooner"
                )
