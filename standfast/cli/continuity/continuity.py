"""`standfast continuity`: services, attestations, calendar of practice.

An attestation is a person's signed statement that work was done. The calendar lists drills,
exercises and attestations that recur. The RTO of a service is the longest acceptable time until it
works again; the RPO is the longest acceptable time between the newest restored change and the
failure. The MTPD is the longest disruption that the organisation tolerates.
"""

from datetime import datetime
from pathlib import Path

import click

from standfast.cli.parsing.commands import Group, command
from standfast.cli.parsing.parameters import FilePath, sign_in_options
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.cli.terminal.passphrase import read_passphrase
from standfast.errors import ExitStatus, UsageError
from standfast.records import JsonObject


@command(
    "attest",
    exits={
        ExitStatus.DONE: "the attestation is recorded, or withdrawn",
        ExitStatus.FAILED: "the file cannot be read",
        ExitStatus.USAGE: "the subject is unknown, the evidence or the sign-in is missing, or the "
        "day is in the future",
        ExitStatus.REFUSED: "the passphrase is wrong",
    },
    example="standfast continuity attest training --as dana --file attendance.pdf",
)
@click.argument("subject", help="A point of the checklist, or a name in continuity.subjects.")
@click.option(
    "--file", type=FilePath(), metavar="FILE", help="The evidence; its SHA-256 is recorded."
)
@click.option("--url", metavar="URL", help="Or the web address of the evidence, without a query.")
@click.option(
    "--on",
    "done_on",
    type=click.DateTime(formats=["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="The day of the work; by default today.",
)
@click.option(
    "--days", type=click.IntRange(1, 3660), help="Days of validity from that day; by default 365."
)
@click.option("--withdraw", is_flag=True, help="Withdraw the attestations of the subject instead.")
@sign_in_options("Sign as this person; required.")
@click.pass_obj
def attest_subject(
    call: Call,
    subject: str,
    file: Path | None,
    url: str | None,
    done_on: datetime | None,
    days: int | None,
    withdraw: bool,
) -> ExitStatus:
    """Attest work that the program cannot measure.

    The person signs the subject, the day, the validity and the evidence. The audit chain keeps the
    signature and what it covers. `standfast readiness` shows the subject as attested, never as
    measured.
    """
    from standfast.usecases.continuity import attestations
    from standfast.usecases.people.enrolment import person_signer

    if call.as_person is None:
        raise UsageError("sign-in: it is missing. Add --as PERSON")
    if withdraw and (file or url or done_on or days):
        raise UsageError("--withdraw: it takes no evidence, day or validity. Leave them out")
    with call.installation() as installation:
        attestations.refuse_unknown_subject(installation, subject)
        signer = person_signer(installation, call.as_person, read_passphrase(call, call.as_person))
        if withdraw:
            attestations.withdraw(installation, subject, signer)
            return call.print_result(
                {"subject": subject, "is_withdrawn": True},
                [f"The attestations of {subject} are withdrawn."],
            )
        made = attestations.attest(
            installation,
            subject,
            signer,
            file=file,
            url=url,
            done_on=done_on.date() if done_on else None,
            valid_days=days or attestations.VALID_DAYS,
        )
        today = attestations.today_of(installation)
    return call.print_result(
        made.as_json(today),
        [
            f"{subject}: attested by {made.person}, valid until {made.valid_until}.",
            f"Evidence: {made.evidence}",
        ],
    )


@command(
    "attestations",
    exits={
        ExitStatus.DONE: "the attestations are listed; there may be none",
        ExitStatus.USAGE: "the subject is unknown",
        ExitStatus.DAMAGED: "an attestation was changed in the database and does not count",
    },
    example="standfast continuity attestations training",
)
@click.argument("subject", required=False, help="One subject; by default all.")
@click.pass_obj
def list_attestations(call: Call, subject: str | None) -> ExitStatus:
    """List attestations, newest first, also expired and withdrawn ones."""
    from standfast.usecases.continuity import attestations

    with call.installation() as installation:
        if subject is not None:
            attestations.refuse_unknown_subject(installation, subject)
        today = attestations.today_of(installation)
        every = attestations.attestations(installation)
    found = [made for made in every.valid if subject in (None, made.subject)]
    rows = []
    for made in found:
        ended = "expired on" if made.valid_until < today else "until"
        validity = "withdrawn" if made.is_withdrawn else f"{ended} {made.valid_until}"
        rows.append([made.subject, str(made.done_on), made.person, validity, made.evidence])
    headings = ("subject", "day", "person", "validity", "evidence")
    none = "No attestations. Add one: `standfast continuity attest SUBJECT --as PERSON`."
    call.print_result(
        {
            "attestations": [made.as_json(today) for made in found],
            "problems": list(every.problems),
        },
        [
            *([Table(headings=headings, rows=rows)] if rows else [none]),
            *(f"Not counted: {problem}" for problem in every.problems),
        ],
    )
    return ExitStatus.DAMAGED if every.problems else ExitStatus.DONE


@command(
    "calendar",
    exits={
        ExitStatus.DONE: "every entry is in time; there may be none",
        ExitStatus.PARTIAL: "an entry is overdue",
    },
    example="standfast continuity calendar",
)
@click.pass_obj
def show_calendar(call: Call) -> ExitStatus:
    """List recurring drills, exercises and attestations with their due dates.

    The entries are in `[continuity.calendar]`. When one is overdue, `standfast serve` notifies its
    owner, and later the next person.
    """
    from standfast.usecases.continuity.calendar import calendar

    with call.installation() as installation:
        entries = calendar(installation)
    rows: list[list[str]] = []
    for entry in entries:
        state = "escalated" if entry.is_escalated else "overdue" if entry.is_overdue else "in time"
        last = str(entry.last_done) if entry.last_done else "never"
        recurring = f"{entry.kind} {entry.subject}"
        rows.append([state, str(entry.due), entry.name, recurring, last, entry.owner])
    overdue = [entry for entry in entries if entry.is_overdue]
    lines: list[Line] = [
        Table(headings=("state", "due", "name", "practice", "last done", "owner"), rows=rows)
        if rows
        else "The calendar is empty. Add [continuity.calendar.NAME]."
    ]
    lines += [f"Next: {overdue[0].what_to_do}"] if overdue else []
    status = ExitStatus.PARTIAL if overdue else ExitStatus.DONE
    return call.print_result({"entries": [entry.as_json() for entry in entries]}, lines, status)


@command(
    "show",
    exits={
        ExitStatus.DONE: "the services are shown; there may be none",
        ExitStatus.FAILED: "the page cannot be written",
        ExitStatus.USAGE: "services depend on each other in a circle",
    },
    example="standfast continuity show --html continuity.html",
)
@click.option(
    "--html", type=FilePath(), metavar="FILE", help="Also write a page with a drawing of the graph."
)
@click.pass_obj
def show(call: Call, html: Path | None) -> ExitStatus:
    """Show the services in order of recovery, with objectives and results.

    Each service is shown with its dependencies, RTO, RPO and MTPD, the predicted recovery time,
    the RTO and RPO that the last drill measured, and its degraded modes. A tree shows the services
    above the services that they depend on.
    """
    from standfast.continuity.degraded_modes import mode_sentences
    from standfast.continuity.service_order import dependency_tree
    from standfast.reports.report_sentences import duration
    from standfast.usecases.continuity.service_overview import (
        service_document,
        service_overview,
        write_continuity_page,
    )

    with call.installation() as installation:
        services = service_overview(installation)
        modes = list(mode_sentences(installation.config.services))
        out = write_continuity_page(installation, services, html.absolute()) if html else None
    rows = [
        [
            service.name,
            ", ".join(service.depends_on) or "-",
            duration(service.rto),
            duration(service.rpo),
            duration(service.mtpd) if service.mtpd else "-",
            service.predicted,
            service.measured,
            service.owner,
        ]
        for service in services
    ]
    headings = ("service", "after", "RTO", "RPO", "MTPD", "predicted", "measured", "owner")
    none = "No service is configured. Add [services.NAME]."
    lines: list[Line] = [Table(headings=headings, rows=rows) if rows else none]
    if any(service.depends_on for service in services):
        graph = {service.name: service.depends_on for service in services}
        lines += ["", "Dependencies:", *dependency_tree(graph), ""]
    lines += [
        *modes,
        *(
            f"{service.name}: no degraded mode reaches its minimum capacity of "
            f"{service.minimum_capacity_percent} %."
            for service in services
            if not service.has_minimum_capacity
        ),
    ]
    lines += [f"Written: {out}"] if out else []
    document: JsonObject = {
        "services": [service_document(service) for service in services],
        "page": str(out) if out else None,
    }
    return call.print_result(document, lines)


@command(
    "import",
    exits={
        ExitStatus.DONE: "the sections are printed",
        ExitStatus.USAGE: "the file cannot be read, or a row is not valid; each is named",
    },
    example="standfast continuity import services.csv >> standfast.toml",
)
@click.argument("file", type=FilePath(), help="A CSV file with a header.")
@click.pass_obj
def import_services(call: Call, file: Path) -> ExitStatus:
    """Print services of a CSV file as sections of the configuration.

    The columns are name, owner, rto_minutes and rpo_minutes; mtpd_minutes,
    minimum_capacity_percent, depends_on and sets are optional. Nothing is changed: add the output
    to the configuration.
    """
    from standfast.usecases.continuity.service_import import services_from_csv

    with call.installation() as installation:
        text = services_from_csv(installation.config, file)
    return call.print_result({"toml": text}, text.splitlines())


continuity = Group(
    "continuity",
    help="Show services and their objectives, recurring practice, and attestations.",
    commands=[show, import_services, show_calendar, attest_subject, list_attestations],
)
