"""`standfast notice accounting`: recipients and delivery of each notice."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.cli.incidents.incident_arguments import incident_argument, resolve_incident
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
        ExitStatus.DONE: "everybody whom a notice is for was told",
        ExitStatus.FAILED: "the export cannot be written",
        ExitStatus.USAGE: "there is no such incident, or the export is no .csv or .json file",
        ExitStatus.PARTIAL: "somebody was not told; `notice status` says why, --reason who",
    },
    example="standfast notice accounting inc-2026-0001 --export told.csv",
)
@incident_argument
@click.option(
    "--export",
    type=FilePath(),
    metavar="FILE",
    help="Write each person's line to a .csv or .json file.",
)
@click.option("--reason", default="", help="Show addresses in clear; the timeline keeps why.")
@click.pass_obj
def accounting(call: Call, incident: str | None, export: Path | None, reason: str) -> ExitStatus:
    """Show the delivery of each notice; the numbers sum up to the audience."""
    from standfast.usecases.notices.accounting_export import export as written
    from standfast.usecases.notices.delivery_accounting import End, account

    shown: list[Person] = []  # nobody's line is kept unless it is to be shown
    each = shown.append if reason else _leave
    digest = None
    with call.installation() as installation:
        incident_id, _ = resolve_incident(installation, incident)
        uncounted = installation.ledger.incidents.state(incident_id).uncounted
        if export is None:
            accounts = account(installation, incident_id, unmasked_because=reason, each=each)
        else:
            accounts, digest = written(
                installation, incident_id, export, unmasked_because=reason, each=each
            )
    lines: list[Line] = []
    for notice in accounts:
        people = counted(notice.audience, "person", "people")
        endings = ", ".join(f"{number:,} {end}" for end, number in notice.counts.items())
        lines.append(f"{notice.step} ({notice.template}), {people}: {endings}")
        lines += [
            f"    {line.address}: {line.end} {line.reason}".rstrip()
            for line in shown
            if line.step == notice.step
        ]
    lines += [
        f"{step}: nobody was notified: its audience could not be read, or is empty. See why: "
        f"`standfast incident status {incident_id}`."
        for step in uncounted
    ]
    untold = sum(notice.untold for notice in accounts)
    lines.append(
        f"{counted(untold, 'person', 'people')} not notified. See why: `standfast notice status "
        f"{incident_id}`; each by name: --reason TEXT."
        if untold
        else "Nobody else is left to notify."
        if uncounted
        else "Nobody is left to notify."
    )
    if any(notice.counts.get(end) for notice in accounts for end in (End.BOUNCED, End.DROPPED)):
        lines.append(f"People whom no message reached: `standfast notice held {incident_id}`.")
    if digest is not None:
        lines.append(f"{export} is written; SHA-256 {digest}, in the timeline as well.")
    document: dict[str, Json] = {
        "incident": incident_id,
        "notices": [notice.as_json() for notice in accounts],
        "untold": untold,
        "uncounted": [*uncounted],
        "sha256": digest,
    }
    if reason:
        document["lines"] = [line.as_json() for line in shown]
    status = ExitStatus.PARTIAL if untold or uncounted else ExitStatus.DONE
    call.say({**document, "exit_status": int(status)}, lines)
    return status


def _leave(line: "Person") -> None:
    """Keep nothing of it."""
