"""`standfast report`: one page for who was not there, of an incident or of the whole place."""

from pathlib import Path
from typing import Annotated

from standfast.cli.parsing.command_declaration import Argument, Group, Option, command
from standfast.cli.terminal.invocation import Call
from standfast.errors import ExitStatus


def add_to(app: Group) -> None:
    """Add the command."""
    command(
        app,
        "report",
        exits={
            ExitStatus.DONE: "the page is written",
            ExitStatus.FAILED: "the page cannot be written there",
            ExitStatus.USAGE: "there is no such incident, or another file is there",
        },
        example="standfast report inc-2026-0001 --to takeover.html",
    )(report)


def report(
    call: Call,
    incident: Annotated[
        str | None,
        Argument(help="Of one incident; of the whole place without."),
    ] = None,
    to: Annotated[
        Path | None,
        Option(
            "--to",
            metavar="FILE",
            help="Where to; INCIDENT.html or place.html in this folder without.",
        ),
    ] = None,
) -> ExitStatus:
    """Write one HTML page: what happened, who was told, drills, and the record behind it.

    It needs nothing from outside, prints, and masks names and addresses.
    """
    from standfast.usecases.reports.result_pages import write_incident_page, write_installation_page

    out = (to or Path(f"{incident or 'place'}.html")).absolute()
    with call.installation() as installation:
        if incident:
            write_incident_page(installation, incident, out)
        else:
            write_installation_page(installation, out)
    call.say({"page": str(out)}, [f"The page is written: {out}"])
    return ExitStatus.DONE
