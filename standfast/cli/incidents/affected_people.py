"""`standfast incident affected`: list the people that an incident affects."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.cli.incidents.incident_arguments import incident_argument, open_incident
from standfast.cli.parsing.commands import Group, command
from standfast.cli.parsing.parameters import FilePath, parse_values, sign_in_options
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.cli.terminal.passphrase import signed_in
from standfast.errors import ExitStatus, UsageError
from standfast.plurals import counted
from standfast.records import Json, JsonObject, timestamp

if TYPE_CHECKING:
    from standfast.usecases.notices.affected_people import AffectedReport


@command(
    "add",
    exits={
        ExitStatus.DONE: "the list is stored, and its numbers are stated for the legal clocks",
        ExitStatus.USAGE: "there is no such incident or source, or the source lists nobody",
        ExitStatus.PARTIAL: (
            "sealed logs were disposed of or cannot be opened; people that only these logs name "
            "are missing"
        ),
        ExitStatus.REFUSED: "the incident is closed",
        ExitStatus.DAMAGED: "sealed logs differ from their seal; the list is made from the other "
        "logs",
    },
    example="standfast incident affected add inc-2026-0001 --csv people.csv --exposed 'name, iban'",
)
@incident_argument
@click.option("--csv", type=FilePath(), help="A CSV file with a heading line, one person a line.")
@click.option(
    "--query", "audience", metavar="NAME", help="Instead of a file: the audience [audiences.NAME]."
)
@click.option(
    "--from-review",
    is_flag=True,
    help="The people whose records the incident's accounts used, according to the sealed logs.",
)
@click.option(
    "--account",
    "accounts",
    multiple=True,
    help="With --from-review: an account; by default the locked accounts.",
)
@click.option(
    "--from",
    "since",
    default="",
    metavar="TIME",
    help="With --from-review: from this time on (UTC).",
)
@click.option(
    "--until", default="", metavar="TIME", help="With --from-review: up to this time (UTC)."
)
@click.option(
    "--identity",
    type=FilePath(),
    metavar="FILE",
    help="With --from-review: the age identity or SSH key of a custodian, for encrypted evidence.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="NAME=HEADING",
    help="The heading in the file for the column NAME, such as address, key, name, language, "
    "exposed or place; repeatable.",
)
@click.option("--exposed", default="", help="The exposed data of rows with an empty `exposed`.")
@click.option(
    "--place", default="", help="The place of rows with an empty `place`, from `deadline places`."
)
@click.option("--replace", "replaces", is_flag=True, help="Replace the earlier lists.")
@sign_in_options("Sign in as this person. Default: the user that runs the command is the author.")
@click.pass_obj
def add(
    call: Call,
    incident: str | None,
    csv: Path | None,
    audience: str | None,
    from_review: bool,
    accounts: tuple[str, ...],
    since: str,
    until: str,
    identity: Path | None,
    columns: tuple[str, ...],
    exposed: str,
    place: str,
    replaces: bool,
) -> ExitStatus:
    """Add people to the list of an incident's affected people.

    The list is stored encrypted and cannot be changed. A step with `audience: affected` notifies
    the people on it, after an approval.
    """
    from standfast.usecases.evidence.affected_records import add_affected_by_records
    from standfast.usecases.evidence.log_review_selection import read_selection
    from standfast.usecases.notices.affected_people import Listing, add_affected

    if [csv is None, audience is None, not from_review].count(False) != 1:
        raise UsageError(
            "affected people: name one source. Add --csv FILE, --query NAME or --from-review"
        )
    if not from_review and (accounts or since or until or identity):
        raise UsageError(
            "arguments: only --from-review takes --account, --from, --until and --identity"
        )
    if csv is None and columns:
        raise UsageError("--column: only a CSV file has headings. Name columns in the query")
    listing = Listing(
        csv=csv,
        columns=parse_values(columns, "--column"),
        audience=audience,
        exposed=exposed,
        place=place,
        replaces=replaces,
    )
    with open_incident(call, incident) as (installation, incident_id, _):
        person = signed_in(call, installation)
        if from_review:
            selection = read_selection(accounts=accounts, since=since, until=until)
            found = add_affected_by_records(
                installation, incident_id, listing, selection, by=person, identity=identity
            )
            lists, status, cut = found.added, found.review.exit_status, found.review.cut
        else:
            lists = [add_affected(installation, incident_id, listing, by=person)]
            status, cut = ExitStatus.DONE, 0
    lines: list[Line] = []
    for added in lists:
        people = added.listed.people if added.listed else 0
        number = (
            f" (list {added.listed.number}, SHA-256 {added.listed.digest})" if added.listed else ""
        )
        who = counted(people, "person", "people")
        lines.append(f"{who} added to the affected people of {incident_id}{number}.")
    repeated = sum(added.repeated for added in lists)
    if repeated:
        lines.append(f"{counted(repeated, 'row')} not added, for people that are already listed.")
    report, without_obligation = lists[-1].report, lists[-1].places_without_obligation
    lines += [
        f"{counted(count, 'person', 'people')} in {name!r}: no legal clock counts this place. "
        "`standfast deadline places` lists the places."
        for name, count in without_obligation.items()
    ]
    missing = ["some logs were left out"] if status is not ExitStatus.DONE else []
    missing += [f"{counted(cut, 'record')} of the logs could not be read completely"] if cut else []
    if missing:
        lines.append(
            f"INCOMPLETE: {' and '.join(missing)}. Affected people may be missing from the list; "
            f"`standfast evidence review {incident_id}` names the logs."
        )
    return call.print_result(
        {
            "incident": incident_id,
            "added": sum(added.listed.people for added in lists if added.listed),
            "repeated": repeated,
            "records_cut": cut,
            "places_without_obligation": dict(without_obligation),
            **_document(report),
        },
        [*lines, "", *_lines(report)],
        status,
    )


@command(
    "show",
    exits={
        ExitStatus.DONE: "the numbers are shown; there may be no list",
        ExitStatus.USAGE: "there is no such incident",
        ExitStatus.DAMAGED: "a list was changed after it was stored",
    },
    example="standfast incident affected show inc-2026-0001",
)
@incident_argument
@click.option("--names", is_flag=True, help="Show every person by name; the view is recorded.")
@click.pass_obj
def show(call: Call, incident: str | None, names: bool) -> ExitStatus:
    """Show the affected people of an incident, in numbers or by name."""
    from standfast.usecases.notices.affected_people import affected_report, listed_people

    with open_incident(call, incident) as (installation, incident_id, _):
        report = affected_report(installation, incident_id)
        people = listed_people(installation, incident_id) if names else []
    document: dict[str, Json] = {"incident": incident_id, **_document(report)}
    lines: list[Line] = [f"{incident_id} has no list of affected people."]
    if report.lists:
        lines = _lines(report)
    if names:
        document["names"] = [
            {
                "key": person.key,
                "name": person.name,
                "address": person.address,
                "exposed": person.slots["exposed"],
                "place": person.slots["place"],
                "held": person.held,
            }
            for person in people
        ]
        cells = [
            [person.name, person.address, person.slots["place"], person.slots["exposed"]]
            for person in people
        ]
        lines += ["", Table(headings=("name", "address", "place", "exposed"), rows=cells)]
    return call.print_result(document, lines)


def _document(report: "AffectedReport") -> JsonObject:
    return {
        "people": report.people,
        "held": report.held,
        "cannot_be_notified": report.cannot_be_notified,
        "by_field": dict(report.fields),
        "by_place": dict(report.places),
        "lists": [
            {
                "number": listed.number,
                "people": listed.people,
                "sha256": listed.digest,
                "source": listed.summary["source"],
                "author": listed.author,
                "at": timestamp(listed.recorded_at),
            }
            for listed in report.lists
        ],
    }


def _lines(report: "AffectedReport") -> list[Line]:
    rows = [["people", f"{report.people:,}"]]
    rows += [["held for a decision", f"{report.held:,}"]] if report.held else []
    rows += (
        [["cannot be notified", f"{report.cannot_be_notified:,}"]]
        if report.cannot_be_notified
        else []
    )
    rows += [[f"exposed: {name}", f"{count:,}"] for name, count in report.fields.items()]
    rows += [[f"place: {name}", f"{count:,}"] for name, count in report.places.items()]
    return [Table(rows=rows)]


affected = Group(
    "affected",
    help="List the people that an incident affects, and show them.",
    commands=[add, show],
)
