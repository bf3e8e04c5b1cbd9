"""`standfast notice accounting`: recipients and delivery of each notice."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.cli.incidents.incident_arguments import incident_argument, open_incident
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line
from standfast.errors import ExitStatus
from standfast.plurals import counted
from standfast.records import Json

if TYPE_CHECKING:
    from standfast.usecases.notices.delivery_accounting import Line as Person


@command(
    "accounting",
    exits={
        ExitStatus.DONE: "every person of each audience was notified",
        ExitStatus.FAILED: "the export cannot be written",
        ExitStatus.USAGE: "there is no such incident, or the export is not a .csv or .json file",
        ExitStatus.PARTIAL: "somebody was not notified; `notice status` shows the reasons",
    },
    example="standfast notice accounting inc-2026-0001 --export notified.csv",
)
@incident_argument
@click.option(
    "--export",
    type=FilePath(),
    metavar="FILE",
    help="Write one line for each person to a .csv or .json file.",
)
@click.option(
    "--reason", default="", help="Show addresses in clear; the timeline records the reason."
)
@click.pass_obj
def accounting(call: Call, incident: str | None, export: Path | None, reason: str) -> ExitStatus:
    """Show the recipients that each notice reached and did not reach."""
    from standfast.usecases.notices import accounting_export
    from standfast.usecases.notices.delivery_accounting import End, account

    people: list[Person] = []  # stays empty unless --reason asks for people
    each = people.append if reason else lambda person: None
    digest = None
    with open_incident(call, incident) as (installation, incident_id, _):
        uncounted = installation.ledger.incidents.state(incident_id).uncounted
        if export is None:
            accounts = account(installation, incident_id, unmasked_because=reason, each=each)
        else:
            accounts, digest = accounting_export.export(
                installation, incident_id, export, unmasked_because=reason, each=each
            )
    lines: list[Line] = []
    for notice in accounts:
        audience = counted(notice.audience, "person", "people")
        endings = ", ".join(f"{number:,} {end}" for end, number in notice.counts.items())
        lines.append(f"{notice.step} ({notice.template}), {audience}: {endings}")
        lines += [
            f"    {person.address}: {person.end} {person.reason}".rstrip()
            for person in people
            if person.step == notice.step
        ]
    lines += [
        f"{step}: nobody was notified: its audience could not be read, or is empty. See why: "
        f"`standfast incident status {incident_id}`."
        for step in uncounted
    ]
    not_notified = sum(notice.not_notified for notice in accounts)
    if not_notified:
        lines.append(
            f"{counted(not_notified, 'person', 'people')} not notified. See why: `standfast notice "
            f"status {incident_id}`; by name: add --reason TEXT."
        )
    else:
        lines.append("Nobody else is left to notify." if uncounted else "Nobody is left to notify.")
    if any(notice.counts.get(end) for notice in accounts for end in (End.BOUNCED, End.DROPPED)):
        lines.append(f"List unreached people: `standfast notice held {incident_id}`.")
    if digest is not None:
        lines.append(f"Written: {export}; SHA-256 {digest}, which the timeline also records.")
    document: dict[str, Json] = {
        "incident": incident_id,
        "notices": [notice.as_json() for notice in accounts],
        "not_notified": not_notified,
        "uncounted": [*uncounted],
        "sha256": digest,
    }
    if reason:
        document["lines"] = [person.as_json() for person in people]
    status = ExitStatus.PARTIAL if not_notified or uncounted else ExitStatus.DONE
    return call.print_result(document, lines, status)
