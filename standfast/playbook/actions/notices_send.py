"""Send a notice to the recipients of an audience.

A notice is a message to the people that an incident concerns; an audience is a configured list of
people.
"""

from collections.abc import Collection, Iterator

from standfast.playbook.actions.action import Action, Carrier, Planner
from standfast.playbook.actions.shared_arguments import NOTICE
from standfast.playbook.planned_effects import Expansion
from standfast.records import JsonObject

SEND = "notices.send"


def _plan(arguments: JsonObject, planner: Planner) -> Expansion:
    return planner.notice(arguments)


def _approval_reason(arguments: JsonObject, staff: Collection[str]) -> str:
    return "" if arguments.get("audience") in staff else "notifies people other than your staff"


def _notes(adapter: str, planner: Planner) -> Iterator[str]:
    """Yield a warning about a mail relay; name the senders that avoid it."""
    senders = planner.config.senders
    if senders[adapter].kind == "smtp":
        around = [name for name, sender in senders.items() if sender.kind != "smtp"]
        instead = f"send through {', '.join(around)} instead" if around else "add another sender"
        yield f"{adapter}: an attacker may read mail of this relay. If that is possible, {instead}"


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
