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
        ExitStatus.USAGE: "there is no such incident, or the file exists and is of another kind",
    },
    example="standfast report inc-2026-0001 --to takeover.html",
)
@click.argument("incident", required=False, help="An incident; by default the installation.")
@click.option(
    "--to",
    type=FilePath(),
    metavar="FILE",
    help="The file to write; by default INCIDENT.html or place.html in this folder.",
)
@click.pass_obj
def report(call: Call, incident: str | None, to: Path | None) -> ExitStatus:
    """Write an HTML page on an incident or on the installation.

    The page shows what happened, who was notified, drills, and the audit record. It needs no other
    files, can be printed, and masks names and addresses.
    """
    from standfast.usecases.reports import result_pages

    out = (to or Path(f"{incident or 'place'}.html")).absolute()
    with call.installation() as installation:
        if incident:
            result_pages.write_incident_page(installation, incident, out)
        else:
            result_pages.write_installation_page(installation, out)
    return call.print_result({"page": str(out)}, [f"Written: {out}"])
