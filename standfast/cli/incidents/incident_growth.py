"""`standfast incident add`: add accounts to an open incident."""

import click

from standfast.cli.incidents.incident_arguments import (
    PROGRESS_EXIT_STATUSES,
    incident_argument,
    open_incident,
    parse_inputs,
)
from standfast.cli.incidents.incident_progress import run_and_print
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import no_wait_option, sign_in_options
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.passphrase import signed_in
from standfast.errors import ExitStatus
from standfast.plurals import counted


@command(
    "add",
    exits={**PROGRESS_EXIT_STATUSES, ExitStatus.USAGE: "an input is not a list of accounts"},
    example="standfast incident add inc-2026-0001 --input accounts=carol,agents:dave --as dana",
)
@incident_argument
@click.option(
    "--input",
    "-i",
    "given",
    multiple=True,
    metavar="NAME=VALUE",
    help="A list of accounts of the playbook; NAME=@FILE reads one account a line.",
)
@no_wait_option
@sign_in_options("Sign in as this person. Default: the user that runs the command is recorded.")
@click.pass_obj
def add(call: Call, incident: str | None, given: tuple[str, ...]) -> ExitStatus:
    """Add accounts to an open incident, and run its steps for them.

    The new accounts are locked, tested and unlocked like the others, and evidence is collected
    again. A step that needs approvals needs new approvals for these accounts, one more than the
    playbook states.
    """
    from standfast.usecases.incidents.lifecycle import add_to_incident

    with open_incident(call, incident) as (installation, incident_id, _):
        by = signed_in(call, installation)
        added = add_to_incident(installation, incident_id, parse_inputs(given), by=by)
        line = (
            f"{counted(added, 'account')} added to {incident_id}."
            if added
            else f"{incident_id} has these accounts already; nothing was added."
        )
        return run_and_print(call, installation, incident_id, {"added": added}, [line, ""])
