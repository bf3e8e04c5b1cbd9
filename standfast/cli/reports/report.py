"""`standfast report`: one page on an incident or on the installation."""

from pathlib import Path

import click

from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.errors import ExitStatus


@command(
    "report",
    exits={
        ExitStatus.DONE: "the page is written",
        ExitStatus.FAILED: "the page cannot be written there",
        ExitStatus.USAGE: "there is no such incident, or another file is there",
    },
    example="standfast report inc-2026-0001 --to takeover.html",
)
@click.argument("incident", required=False, help="Of one incident; of the whole place without.")
@click.option(
    "--to",
    type=FilePath(),
    metavar="FILE",
    help="Where to; INCIDENT.html or place.html in this folder without.",
)
@click.pass_obj
def report(call: Call, incident: str | None, to: Path | None) -> ExitStatus:
    """Write an HTML page on an incident or on the installation.

    The page shows what happened, who was notified, drills, and the audit record. It needs no other
    files, can be printed, and masks names and addresses.
    """
    from standfast.usecases.reports.result_pages import write_incident_page, write_installation_page

    out = (to or Path(f"{incident or 'place'}.html")).absolute()
    with call.installation() as installation:
        if incident:
            write_incident_page(installation, incident, out)
        else:
            write_installation_page(installation, out)
    return call.say({"page": str(out)}, [f"The page is written: {out}"])
