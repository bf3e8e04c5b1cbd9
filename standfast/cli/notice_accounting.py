"""`standfast notice accounting`: who was told what, when, by which channel, how it ended."""

from pathlib import Path
from typing import Annotated

from standfast.cli.call import Call
from standfast.cli.declared import Group, Option, command
from standfast.cli.incident_words import IncidentArgument, the_incident
from standfast.cli.output import Line
from standfast.counted import counted
from standfast.errors import ExitStatus
from standfast.records import Json


def add_to(notice: Group) -> None:
    """Add the command to the group of notices."""
    command(
        notice,
        "accounting",
        exits={
            ExitStatus.DONE: "everybody whom a notice is for was told",
            ExitStatus.FAILED: "the export cannot be written",
            ExitStatus.USAGE: "there is no such incident, or the export is no .csv or .json file",
            ExitStatus.PARTIAL: "somebody was not told; each stands there with the reason",
        },
        example="standfast notice accounting inc-2026-0001 --export told.csv",
    )(accounting)


def accounting(
    call: Call,
    incident: IncidentArgument = None,
    export: Annotated[
        Path | None,
        Option(metavar="FILE", help="Write each person's line to a .csv or .json file."),
    ] = None,
    reason: Annotated[
        str, Option(metavar="TEXT", help="Show addresses in clear; the timeline keeps why.")
    ] = "",
) -> ExitStatus:
    """Say of each notice who was told, and how it ended; the numbers add up to the audience."""
    from standfast.operations.accounting import End, account
    from standfast.operations.accounting import export as written

    with call.place() as place:
        incident_id, _ = the_incident(place, incident)
        accounts = account(place, incident_id, unmasked_because=reason)
        digest = None if export is None else written(place, incident_id, accounts, export)
    lines: list[Line] = []
    for one in accounts:
        people = counted(len(one.lines), "person", "people")
        told = ", ".join(f"{number:,} {end}" for end, number in one.counts.items())
        lines.append(f"{one.step} ({one.template}), {people}: {told}")
        if reason:
            lines += [
                f"    {each.address}: {each.end} {each.reason}".rstrip() for each in one.lines
            ]
    untold = sum(one.untold for one in accounts)
    lines.append(
        f"{counted(untold, 'person', 'people')} not told."
        if untold
        else "Nobody for whom a notice was planned is untold."
    )
    if any(one.counts.get(end) for one in accounts for end in (End.BOUNCED, End.DROPPED)):
        lines.append(f"`standfast notice held {incident_id}` names whom no mail reached.")
    if digest is not None:
        lines.append(f"{export} is written; SHA-256 {digest}, in the timeline as well.")
    document: dict[str, Json] = {
        "incident": incident_id,
        "notices": [one.as_json() for one in accounts],
        "untold": untold,
        "sha256": digest,
    }
    if reason:
        document["lines"] = [each.as_json() for one in accounts for each in one.lines]
    status = ExitStatus.PARTIAL if untold else ExitStatus.DONE
    call.say({**document, "exit_status": int(status)}, lines)
    return status
