"""Checks of the connections to the monitoring of the organisation."""

from collections.abc import Iterator

from standfast.errors import StandfastError
from standfast.plurals import counted
from standfast.usecases.core.heartbeats import heartbeat_url
from standfast.usecases.health.check_results import Check, Ground, Look, fail, ok
from standfast.usecases.health.trigger_checks import broken_tokens


def _metrics(ground: Ground) -> Iterator[Check]:
    tokens = ground.config.serve.metrics_tokens
    found = [*broken_tokens(ground, tokens)]
    for problem, remedy in found:
        yield fail("metrics", problem, remedy)
    if tokens and not found:
        yield ok("metrics", "Prometheus can read /metrics of the address of `serve`")


def _heartbeats(ground: Ground) -> Iterator[Check]:
    urls = ground.config.heartbeats
    named = [(f"backup {name}", reference) for name, reference in urls.backup.items()]
    named += [(f"drill {name}", reference) for name, reference in urls.drill.items()]
    broken = 0
    for name, reference in named:
        try:
            heartbeat_url(ground.resolver, reference)
        except (StandfastError, ValueError) as error:
            broken += 1
            yield fail("heartbeats", f"{name}: {reference}: {error}", "correct that URL")
    if named and not broken:
        yield ok("heartbeats", f"{counted(len(named), 'URL')} readable; nothing was sent to them")


LOOKS: dict[str, Look] = {"metrics": _metrics, "heartbeats": _heartbeats}
