"""`standfast incident close` and `reopen`.

The output of `close` lists unfinished work, and the legal clocks (the running time limits of duties
to notify), which continue after the close.
"""

from typing import TYPE_CHECKING

import click

from standfast.cli.incidents.incident_arguments import (
    RECORDED_EXIT_STATUSES,
    UNSIGNED,
    incident_argument,
    open_incident,
)
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import acting_person_options
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line
from standfast.cli.terminal.passphrase import signed_in
from standfast.errors import ExitStatus
from standfast.local_time import minute
from standfast.plurals import counted
from standfast.records import Json, Mode, timestamp

if TYPE_CHECKING:
    from standfast.reports.report_records import ObligationLine

_RESULT = {
    Mode.LIVE: "its accounts stay as they are",
    Mode.EXERCISE: "nothing live was touched",
    Mode.PLAN: "it was a plan, and did nothing",
}


@command(
    "close",
    exits={
        **RECORDED_EXIT_STATUSES,
        ExitStatus.REFUSED: f"an act is under way, so the incident must be stopped first; or "
        f"{UNSIGNED}",
    },
    example="standfast incident close inc-2026-0001 --as dana",
)
@incident_argument
@acting_person_options
@click.pass_obj
def close(call: Call, incident: str | None) -> ExitStatus:
    """Close an incident; accounts stay as they are, legal clocks continue.

    A legal clock is the running time limit of a duty to notify. A live incident needs --as, with a
    person that has a role.
    """
    from standfast.usecases.incidents import lifecycle
    from standfast.usecases.notice_follow_up.open_recipients import open_recipients
    from standfast.usecases.reports.legal_obligations import incident_obligations

    with open_incident(call, incident) as (installation, incident_id, _):
        lifecycle.close(installation, incident_id, by=signed_in(call, installation))
        outcome = lifecycle.look(installation, incident_id)
        unfinished, unsuccessful = outcome.unfinished, outcome.unsuccessful_steps
        left = open_recipients(installation, outcome.state)
        mode, zone = outcome.state.mode, installation.config.organisation.time_zone
        obligations = (
            incident_obligations(installation, incident_id, mode) if mode is Mode.LIVE else None
        )
    clocks = [
        obligation
        for obligation in (obligations.lines if obligations else ())
        if obligation.state == "missed"
        or (obligation.state == "running" and not obligation.is_earliest)
    ]
    lines: list[Line] = [f"{incident_id} is closed; {_RESULT[mode]}."]
    if unsuccessful:
        text = ", ".join(f"`{name}` {end.value}" for name, end in unsuccessful.items())
        lines.append(
            f"Not fully done: {text}. See why: `standfast incident status {incident_id} --targets`."
        )
    if unfinished and mode is not Mode.PLAN:
        lines.append(f"Not finished: {', '.join(unfinished)}.")
    if left.sentence:
        lines.append(
            f"Still open: {left.sentence}. See each notice: `standfast notice accounting "
            f"{incident_id}`."
        )
    if obligations is not None and obligations.trouble:
        lines.append(f"Warning: no legal clock can be counted: {obligations.trouble}")
    if clocks:
        verb = "continues" if len(clocks) == 1 else "continue"
        text = ", ".join(_clock(obligation, zone) for obligation in clocks)
        lines.append(
            f"{counted(len(clocks), 'legal clock')} {verb}: {text}. See all: "
            f"`standfast deadline list {incident_id}`."
        )
    again = {
        Mode.LIVE: f" To reopen it: `standfast incident reopen {incident_id} --as PERSON`.",
        Mode.PLAN: f" To open its plan live: `standfast incident carry-out {incident_id}`.",
    }
    lines.append(
        f"Next: `standfast audit show {incident_id}` shows its timeline.{again.get(mode, '')}"
    )
    running: list[Json] = [
        {
            "to": obligation.to,
            "state": obligation.state,
            "due": timestamp(obligation.due) if obligation.due else None,
        }
        for obligation in clocks
    ]
    document = {
        "incident": incident_id,
        "state": "closed",
        "not_done": [*unfinished],
        "fell_short": {name: end.value for name, end in unsuccessful.items()},
        **left.as_json(),
        "clocks": running,
    }
    return call.print_result(document, lines)


@command(
    "reopen",
    exits={
        **RECORDED_EXIT_STATUSES,
        ExitStatus.USAGE: "there is no such incident, or it is open",
        ExitStatus.REFUSED: f"it was a plan; or {UNSIGNED}",
    },
    example="standfast incident reopen inc-2026-0001 --as dana",
)
@click.argument("incident", metavar="ID", help="The closed incident.")
@acting_person_options
@click.pass_obj
def reopen(call: Call, incident: str) -> ExitStatus:
    """Open a closed incident again, to undo or correct its changes.

    The incident continues in its former state: steps that waited wait again, and a stopped incident
    stays stopped. A live incident needs --as, with a person that has a role.
    """
    from standfast.usecases.incidents import lifecycle

    with call.installation() as installation:
        lifecycle.reopen(installation, incident, by=signed_in(call, installation))
        next_step = lifecycle.look(installation, incident).summary.next_step
    undo = f"standfast incident undo {incident}"
    lines = [
        f"{incident} is open again, in its former state.",
        f"To unlock accounts: `{undo} --all --as PERSON`, or --target ACCOUNT.",
        f"Next: {next_step}",
    ]
    return call.print_result({"incident": incident, "state": "open", "next_step": next_step}, lines)


def _clock(obligation: "ObligationLine", zone: str) -> str:
    due = f"due {minute(obligation.due, zone)}" if obligation.due else "due now"
    return f"{obligation.to} {'missed, ' if obligation.state == 'missed' else ''}{due}"
