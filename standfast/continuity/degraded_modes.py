"""Degraded modes of services, in words for the terminal.

A degraded mode is a prepared way to run a service with less capacity, such as on paper.
"""

from collections.abc import Iterator, Mapping

from standfast.config.sections.services import ServiceConfig


def mode_sentences(services: Mapping[str, ServiceConfig]) -> Iterator[str]:
    """Yield sentences on the minimum capacity and the modes of each service."""
    for name, service in services.items():
        wanted = service.minimum_capacity_percent
        parts = [f"at least {wanted} % of the usual volume"] if wanted is not None else []
        parts += [
            f"{mode_name} ({mode.kind}{_capacity(mode.capacity_percent)})"
            for mode_name, mode in service.modes.items()
        ]
        if parts:
            yield f"{name} in a disruption: {', '.join(parts)}."


def _capacity(percent: int | None) -> str:
    return "" if percent is None else f", {percent} %"
