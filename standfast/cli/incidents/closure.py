"""`standfast incident close`, which lists what remains open, and `reopen`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.cli.incidents.incident_arguments import (
    RECORDED_EXIT_STATUSES,
    UNSIGNED,
    incident_argument,
    resolve_incident,
)
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import acting_person_option, passphrase_file_option
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line
from standfast.cli.terminal.passphrase import signed_in
from standfast.errors import ExitStatus
from standfast.local_time import minute
from standfast.plurals import counted
from standfast.records import Json, Mode, timestamp

if TYPE_CHECKING:
    from standfast.reports.report_records import Duties, DutyLine

_STAYS = {
    Mode.LIVE: "its accounts stay as they are",
    Mode.EXERCISE: "nothing live was touched in it",
    Mode.PLAN: "it was a plan, and did nothing",
}


@command(
    "close",
    exits={
        **RECORDED_EXIT_STATUSES,
        ExitStatus.REFUSED: f"something is under way, and is to be stopped first; {UNSIGNED}",
    },
    example="standfast incident close inc-2026-0001 --as dana",
)
@incident_argument
@acting_person_option
@passphrase_file_option
@click.pass_obj
def close(
    call: Call, incident: str | None, as_person: str | None, passphrase_file: Path | None
) -> ExitStatus:
    """Close an incident; accounts stay as they are, legal clocks continue.

    A live incident needs --as, with a person that has a role.
    """
    from standfast.usecases.incidents.lifecycle import close as end
    from standfast.usecases.incidents.lifecycle import look
    from standfast.usecases.notice_follow_up.open_recipients import open_recipients
    from standfast.usecases.reports.legal_duties import duties_of

    with call.installation() as installation:
        incident_id, _ = resolve_incident(installation, incident)
        end(installation, incident_id, by=signed_in(call, installation, as_person, passphrase_file))
        outcome = look(installation, incident_id)
        undone, short = outcome.unfinished, outcome.fell_short
        left = open_recipients(installation, outcome.state)
        mode, zone = outcome.state.mode, installation.config.organisation.time_zone
        duties = duties_of(installation, incident_id, mode) if mode is Mode.LIVE else None
        clocks = _go_on(duties)
    lines: list[Line] = [f"{incident_id} is closed; {_STAYS[mode]}."]
    if short:
        text = ", ".join(f"`{name}` {end.value}" for name, end in short.items())
        lines.append(
            f"Not fully done: {text}; `standfast incident status {incident_id} --targets`."
        )
    if undone and mode is not Mode.PLAN:
        lines.append(f"Not finished: {', '.join(undone)}.")
    if left.sentence:
        lines.append(f"Still open: {left.sentence}; `standfast notice accounting {incident_id}`.")
    if duties is not None and duties.trouble:
        lines.append(f"Warning: no legal clock can be counted: {duties.trouble}")
    if clocks:
        verb = "goes on" if len(clocks) == 1 else "go on"
        text = ", ".join(_clock(duty, zone) for duty in clocks)
        lines.append(
            f"{counted(len(clocks), 'clock')} {verb}: {text}; "
            f"`standfast deadline list {incident_id}`."
        )
    again = {
        Mode.LIVE: f"; `standfast incident reopen {incident_id} --as PERSON` opens it again",
        Mode.PLAN: f"; `standfast incident carry-out {incident_id}` still does what it planned",
    }
    lines.append(
        f"Next: `standfast audit show {incident_id}` is its timeline{again.get(mode, '')}."
    )
    running: list[Json] = [
        {"to": duty.to, "standing": duty.standing, "due": timestamp(duty.due) if duty.due else None}
        for duty in clocks
    ]
    call.say(
        {
            "incident": incident_id,
            "state": "closed",
            "not_done": [*undone],
            "fell_short": {name: end.value for name, end in short.items()},
            **left.as_json(),
            "clocks": running,
        },
        lines,
    )
    return ExitStatus.DONE


@command(
    "reopen",
    exits={
        **RECORDED_EXIT_STATUSES,
        ExitStatus.USAGE: "there is no such incident, or it is open",
        ExitStatus.REFUSED: f"it was a plan; {UNSIGNED}",
    },
    example="standfast incident reopen inc-2026-0001 --as dana",
)
@click.argument("incident", metavar="ID")
@acting_person_option
@passphrase_file_option
@click.pass_obj
def reopen(
    call: Call, incident: str, as_person: str | None, passphrase_file: Path | None
) -> ExitStatus:
    """Open a closed incident again, to undo or correct its effects.

    The incident continues in its former state: steps that waited wait again, and a stopped incident
    stays stopped. A live incident needs --as, with a person that has a role.
    """
    from standfast.usecases.incidents.lifecycle import look
    from standfast.usecases.incidents.lifecycle import reopen as open_again

    with call.installation() as installation:
        open_again(
            installation, incident, by=signed_in(call, installation, as_person, passphrase_file)
        )
        outcome = look(installation, incident)
    next_step = outcome.standing.next_step
    undo = f"standfast incident undo {incident}"
    lines = [
        f"{incident} is open again, as it was.",
        f"To give accounts back: `{undo} --all --as PERSON`, or --target ACCOUNT.",
        f"Next: {next_step}",
    ]
    call.say({"incident": incident, "state": "open", "next_step": next_step}, lines)
    return ExitStatus.DONE


def _go_on(duties: "Duties | None") -> "Sequence[DutyLine]":
    """Return the duties that are missed, running or due now."""
    if duties is None:
        return ()
    return [
        duty
        for duty in duties.lines
        if duty.standing == "missed" or (duty.standing == "running" and not duty.is_earliest)
    ]


def _clock(duty: "DutyLine", zone: str) -> str:
    due = f"due {minute(duty.due, zone)}" if duty.due else "due now"
    return f"{duty.to} {'missed, ' if duty.standing == 'missed' else ''}{due}"
