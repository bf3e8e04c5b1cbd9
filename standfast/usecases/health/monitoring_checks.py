"""Checks of metrics tokens, heartbeat URLs and receivers of events.

A heartbeat is a request to a monitor when a backup or a drill (test restore) starts and ends. An
event is a message to another system that an incident was opened, contained or closed.
"""

from collections.abc import Iterator

from standfast.adapters.factory.live_adapters import build_procedure
from standfast.config.sections.monitoring import EventKind
from standfast.errors import StandfastError
from standfast.plurals import counted
from standfast.usecases.core.heartbeats import heartbeat_url
from standfast.usecases.health.check_results import (
    Check,
    CheckFunction,
    CheckInputs,
    fail,
    ok,
    warn,
)
from standfast.usecases.health.trigger_checks import token_faults
from standfast.usecases.triggers.incident_events import unsent_events


def _metrics(inputs: CheckInputs) -> Iterator[Check]:
    tokens = inputs.config.serve.metrics_tokens
    found = [*token_faults(inputs, tokens)]
    for problem, remedy in found:
        yield fail("metrics", problem, remedy)
    if tokens and not found:
        yield ok("metrics", "Prometheus can read /metrics of the address of `serve`")


def _heartbeats(inputs: CheckInputs) -> Iterator[Check]:
    urls = inputs.config.heartbeats
    named = [(f"backup {name}", reference) for name, reference in urls.backup.items()]
    named += [(f"drill {name}", reference) for name, reference in urls.drill.items()]
    broken = 0
    for name, reference in named:
        try:
            heartbeat_url(inputs.resolver, reference)
        except (StandfastError, ValueError) as error:
            broken += 1
            yield fail("heartbeats", f"{name}: {reference}: {error}", "correct that URL")
    if named and not broken:
        yield ok("heartbeats", f"{counted(len(named), 'URL')} readable; nothing was sent to them")


def _events(inputs: CheckInputs) -> Iterator[Check]:
    receivers = inputs.config.incident_events
    broken = 0
    for name, settings in receivers.items():
        for request in {settings.request_of(kind) for kind in EventKind} - {None}:
            try:
                build_procedure(
                    inputs.config,
                    f"requests.{request}",
                    lambda reference: inputs.resolver.resolve(reference).reveal(),
                    inputs.clock,
                ).close()
            except StandfastError as error:
                broken += 1
                yield fail("events", f"{name}: {error}")
    if inputs.ledger:
        for event, problem in unsent_events(inputs.config, inputs.ledger, inputs.clock()).items():
            broken += 1
            yield warn("events", f"{event} was not accepted: {problem}", "correct its request")
    if receivers and not broken:
        yield ok("events", f"{counted(len(receivers), 'system')} receive events of incidents")


CHECKS: dict[str, CheckFunction] = {
    "metrics": _metrics,
    "heartbeats": _heartbeats,
    "events": _events,
}
