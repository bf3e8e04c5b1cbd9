"""The checks of what opens incidents from outside: would each trigger work tonight?"""

from collections.abc import Iterator

from standfast.errors import StandfastError
from standfast.plurals import counted
from standfast.records import Mode
from standfast.triggers.standard_webhooks import read_secret
from standfast.usecases.health.check_results import Check, Ground, Look, fail, lacking, ok, warn
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
from standfast.usecases.triggers.on_call_pages import notification_obstacle


def _triggers(ground: Ground) -> Iterator[Check]:
    if not triggers_of(ground.config):
        yield lacking(
            "triggers",
            "no trigger is set up: an alert opens no incident until a person does",
            "add [triggers.NAME]",
        )
    for name, trigger in triggers_of(ground.config).items():
        found = [*_broken(ground, trigger)]
        for what, remedy in found:
            yield fail("triggers", f"{name}: {what}", remedy)
        if isinstance(trigger, EveTrigger) and not trigger.file.exists():
            yield warn(
                "triggers", f"{name}: there is no {trigger.file} yet", "see that Suricata writes it"
            )
        why = notification_obstacle(ground.ledger, ground.outside, trigger) if ground.ledger else ""
        if why:
            yield warn(
                "triggers",
                f"{name}: {why}",
                "`standfast people add`, and [senders.NAME]: what it opens is found only by who "
                "looks at `standfast status`",
            )
        if ground.ledger and (aside := recent(ground.ledger, name, ground.clock())):
            why, where = str(aside[0].summary.get("why")), folder_of(ground.config)
            read = f"read them in {where}, do by hand what they ask for, and"
            yield warn(
                "triggers",
                f"{name}: {counted(len(aside), 'alert')} set aside in the last week: {why}",
                f"{read} mend it: `serve` then opens them"
                if aside[0].summary.get("waits")
                else f"{read} report the error",
            )
        if not found:
            acts = "acts by itself" if trigger.mode is Mode.LIVE else "plans and pages"
            yield ok("triggers", f"{name}: {acts}, with {trigger.scenario}")
    if any(isinstance(one, FormTrigger) for one in triggers_of(ground.config).values()):
        yield ok("triggers", "the form for staff is at /report of what `serve` listens on")


def _broken(ground: Ground, trigger: Trigger) -> Iterator[tuple[str, str]]:
    """Give what keeps it from working, and what mends that."""
    for obstacle in obstacles(ground.config, trigger):
        yield obstacle, f"mend triggers.{trigger.name}"
    match trigger:
        case SignedTrigger():
            references = trigger.secrets
        case AlertTrigger():
            references = trigger.tokens
        case _:
            references = ()
    for reference in references:
        try:
            text = ground.resolver.resolve(reference).reveal()
            if isinstance(trigger, SignedTrigger):
                read_secret(text)
            elif len(text) < SHORTEST_TOKEN:
                yield f"{reference} is shorter than {SHORTEST_TOKEN} characters", "make a new one"
        except ValueError as error:
            yield f"{reference}: {error}", "make a new one"
        except StandfastError as error:
            yield str(error), ""  # it says itself what to do


LOOKS: dict[str, Look] = {"triggers": _triggers}
