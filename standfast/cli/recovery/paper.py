"""`standfast recover paper`: paper records that are entered later."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.cli.incidents.incident_arguments import incident_argument, open_incident
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath, sign_in_options
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.cli.terminal.passphrase import signed_in
from standfast.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from standfast.usecases.recovery.paper_list import PaperItem


@command(
    "paper",
    exits={
        ExitStatus.DONE: "the items are listed, added or marked as entered",
        ExitStatus.USAGE: "the file is not valid, or there is no such item",
        ExitStatus.REFUSED: "the incident is closed",
    },
    example="standfast recover paper --add paper.csv --as dana",
)
@incident_argument
@click.option(
    "--add",
    "file",
    type=FilePath(),
    metavar="FILE",
    help="Add the items of a CSV file with the columns owner and item.",
)
@click.option("--entered", type=int, metavar="NUMBER", help="Mark an item as typed in.")
@sign_in_options("Sign in as this person. Default: the user that runs the command is recorded.")
@click.pass_obj
def paper(call: Call, incident: str | None, file: Path | None, entered: int | None) -> ExitStatus:
    """List items that were written on paper during an outage.

    Each item has an owner. The timeline shows the person that added an item or marked it as
    entered, and not the text of the item. Below the list are the degraded modes of the services:
    prepared ways to work without them.
    """
    from standfast.continuity.degraded_modes import mode_sentences
    from standfast.usecases.recovery.paper_list import add_items, enter_item, paper_items

    if file is not None and entered is not None:
        raise UsageError("arguments: --add and --entered exclude each other. Give one of them")
    with open_incident(call, incident) as (installation, incident_id, _):
        if file is not None:
            add_items(installation, incident_id, file, by=signed_in(call, installation))
        elif entered is not None:
            enter_item(installation, incident_id, entered, by=signed_in(call, installation))
        items = paper_items(installation, incident_id)
        modes = mode_sentences(installation.config.services)
    none = f"{incident_id} has no paper list. Add one with --add FILE."
    return call.print_result(
        {"incident": incident_id, "items": [item.as_json() for item in items]},
        [*(paper_lines(items) or [none]), *modes],
    )


def paper_lines(items: "tuple[PaperItem, ...]") -> list[Line]:
    """Return the items as a table after a line with their counts."""
    if not items:
        return []
    entered = sum(item.entered_at is not None for item in items)
    rows = [
        [
            str(item.number),
            f"entered by {item.entered_by}" if item.entered_at else "open",
            item.owner,
            item.item,
        ]
        for item in items
    ]
    return [f"Items on paper: {entered} of {len(items)} entered.", Table(rows=rows, indent=2)]
