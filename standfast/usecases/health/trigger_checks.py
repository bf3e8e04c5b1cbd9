"""Checks of the triggers that open incidents from outside.

A trigger is a configured way to open an incident, such as a webhook or a form for staff.
"""

from collections.abc import Iterable, Iterator

from standfast.config.value_types import SecretReference
from standfast.errors import StandfastError
from standfast.plurals import counted
from standfast.records import Mode
from standfast.triggers.standard_webhooks import read_secret
from standfast.usecases.health.check_results import (
    Check,
    CheckFunction,
    CheckInputs,
    fail,
    lacking,
    ok,
    warn,
)
from standfast.usecases.triggers.dead_letters import folder_of, recent
from standfast.usecases.triggers.message_intake import (
    SHORTEST_TOKEN,
    AlertTrigger,
    EveTrigger,
    FormTrigger,
    SignedTrigger,
    Trigger,
    obstacles,
    triggers_of,
)
from standfast.usecases.triggers.trigger_pages import notification_obstacle


def _triggers(inputs: CheckInputs) -> Iterator[Check]:
    if not triggers_of(inputs.config):
        yield lacking(
            "triggers", "no trigger is set up: no alert opens an incident", "add [triggers.NAME]"
        )
    for name, trigger in triggers_of(inputs.config).items():
        found = [*_faults(inputs, trigger)]
        for problem, remedy in found:
            yield fail("triggers", f"{name}: {problem}", remedy)
        if isinstance(trigger, EveTrigger) and not trigger.file.exists():
            yield warn(
                "triggers",
                f"{name}: {trigger.file} does not exist yet",
                "check that Suricata writes it",
            )
        why = (
            notification_obstacle(inputs.ledger, inputs.adapters, trigger) if inputs.ledger else ""
        )
        if why:
            yield warn(
                "triggers",
                f"{name}: {why}",
                "`standfast people add`, and [senders.NAME]: otherwise only `standfast status` "
                "shows its incidents",
            )
        if inputs.ledger and (dead_letters := recent(inputs.ledger, name, inputs.clock())):
            why, where = str(dead_letters[0].summary.get("why")), folder_of(inputs.config)
            read = f"read them in {where}, handle them by hand, and"
            yield warn(
                "triggers",
                f"{name}: {counted(len(dead_letters), 'alert')} not processed in a week: {why}",
                f"{read} correct the cause: `serve` then opens their incidents"
                if dead_letters[0].summary.get("waits")
                else f"{read} report the error",
            )
        if not found:
            acts = "acts by itself" if trigger.mode is Mode.LIVE else "plans and pages"
            yield ok("triggers", f"{name}: {acts}, with {trigger.scenario}")
    if any(isinstance(trigger, FormTrigger) for trigger in triggers_of(inputs.config).values()):
        yield ok("triggers", "the form for staff is at /report of the address of `serve`")


def _faults(inputs: CheckInputs, trigger: Trigger) -> Iterator[tuple[str, str]]:
    """Yield each fault of a trigger, with its remedy."""
    for obstacle in obstacles(inputs.config, trigger):
        yield obstacle, f"correct triggers.{trigger.name}"
    if isinstance(trigger, AlertTrigger):
        yield from token_faults(inputs, trigger.tokens)
    for reference in trigger.secrets if isinstance(trigger, SignedTrigger) else ():
        try:
            read_secret(inputs.resolver.resolve(reference).reveal())
        except ValueError as error:
            yield f"{reference}: {error}", "create a new one"
        except StandfastError as error:
            yield str(error), ""  # the message names the action


def token_faults(
    inputs: CheckInputs, references: Iterable[SecretReference]
) -> Iterator[tuple[str, str]]:
    """Yield each fault of bearer tokens, with its remedy."""
    for reference in references:
        try:
            if len(inputs.resolver.resolve(reference).reveal()) < SHORTEST_TOKEN:
                yield f"{reference} is shorter than {SHORTEST_TOKEN} characters", "create a new one"
        except StandfastError as error:
            yield str(error), ""  # the message names the action


CHECKS: dict[str, CheckFunction] = {"triggers": _triggers}
