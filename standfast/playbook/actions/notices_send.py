"""Send a notice to the recipients of an audience."""

from collections.abc import Collection, Iterator

from standfast.playbook.actions.action import Action, ArgumentSpec, ArgumentType, Carrier, Planner
from standfast.playbook.planned_effects import Expansion
from standfast.records import JsonObject

SEND = "notices.send"
NOTICE = {
    "template": ArgumentSpec(
        type=ArgumentType.TEMPLATE, required=True, description="the notice, by name"
    ),
    "audience": ArgumentSpec(
        type=ArgumentType.AUDIENCE, required=True, description="who is told, by name"
    ),
    "sender": ArgumentSpec(
        type=ArgumentType.SENDER, description="the channel; without it the default one"
    ),
    "context": ArgumentSpec(
        type=ArgumentType.MAPPING,
        default={},
        description="what the notice is rendered with, besides what every notice has",
    ),
}


def _plan(arguments: JsonObject, planner: Planner) -> Expansion:
    return planner.notice(arguments)


def _approval_reason(arguments: JsonObject, staff: Collection[str]) -> str:
    return "" if arguments.get("audience") in staff else "writes to others than the own staff"


def _notes(adapter: str, planner: Planner) -> Iterator[str]:
    """Return the channels that do not use the company's own mail relay.

    They remain if an attacker controls that relay.
    """
    senders = planner.config.senders
    if senders[adapter].kind == "smtp":
        around = [name for name, sender in senders.items() if sender.kind != "smtp"]
        stays = f"use {', '.join(around)}" if around else "there is no other channel here"
        yield f"{adapter}: if an attacker may control this mail relay, {stays}"


ACTION = Action(
    verb=SEND,
    title="notify the people of an audience",
    targets="recipients",
    carrier=Carrier.SENDERS,
    method="send",
    arguments=NOTICE,
    plan=_plan,
    done="notified",
    is_irreversible=True,
    approval_reason=_approval_reason,
    notes=_notes,
    is_notice=True,
    settings=("organisation",),
)
