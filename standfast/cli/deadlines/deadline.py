"""`standfast deadline list`, `form`, `calendar`, `show`; the group."""

from collections import Counter
from pathlib import Path

import click

from standfast.cli.deadlines.calendar_subscriptions import feed
from standfast.cli.deadlines.clock_text import clock_document, clock_lines, limit_text
from standfast.cli.deadlines.incident_facts import (
    affected,
    answer,
    content,
    delay,
    fact,
    notified,
    obligation_argument,
)
from standfast.cli.incidents.incident_arguments import incident_argument, open_incident
from standfast.cli.parsing.commands import Group, command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.errors import ExitStatus, UsageError
from standfast.plurals import counted
from standfast.records import JsonObject
from standfast.suggestions import nearest_name_hint


@command(
    "list",
    exits={
        ExitStatus.DONE: "the clocks are listed",
        ExitStatus.PARTIAL: "a clock is missed",
        ExitStatus.USAGE: "there is no such incident, or no jurisdiction is configured",
    },
    example="standfast deadline list inc-2026-0001",
)
@incident_argument
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Also list obligations that are done, not owed or not in force.",
)
@click.pass_obj
def list_deadlines(call: Call, incident: str | None, everything: bool) -> ExitStatus:
    """List obligations with their recipients, due dates and open questions.

    The strict date comes first: the earliest date that any reading of the rule gives. The lenient
    date follows: the latest date that the rules of counting allow.
    """
    from standfast.deadlines import NOT_ADVICE
    from standfast.deadlines.legal_clocks import ClockState
    from standfast.usecases.deadlines.legal_clocks import incident_clocks, is_open

    with open_incident(call, incident) as (installation, incident_id, _):
        clocks = incident_clocks(installation, incident_id)
        now, zone = installation.clock(), installation.config.organisation.time_zone
        if not clocks:
            raise UsageError(
                "deadlines: no jurisdiction is configured. Set deadlines.jurisdictions and "
                "deadlines.sectors; `standfast deadline places` lists them"
            )
    shown = [clock for clock in clocks if everything or is_open(clock)]
    lines: list[Line] = []
    for clock in shown:
        lines += [*clock_lines(clock, now, zone), ""]
    hidden = len(clocks) - len(shown)
    if hidden:
        verb = "is" if hidden == 1 else "are"
        lines.append(f"{hidden} more {verb} done, not owed or not in force; show them with --all.")
    is_missed = any(clock.state is ClockState.MISSED for clock in clocks)
    status = ExitStatus.PARTIAL if is_missed else ExitStatus.DONE
    document: JsonObject = {
        "incident": incident_id,
        "exit_status": int(status),
        "clocks": [clock_document(clock) for clock in clocks],
        "note": NOT_ADVICE,
    }
    lines.append(NOT_ADVICE)
    if any(clock.questions for clock in shown):
        lines.append(
            f"Next: state a fact: `standfast deadline fact {incident_id} NAME --at TIME`; answer a "
            f"test: `standfast deadline answer {incident_id} OBLIGATION yes|no --because TEXT`."
        )
    return call.print_result(document, lines, status)


@command(
    "form",
    exits={
        ExitStatus.DONE: "the form is written and complete",
        ExitStatus.PARTIAL: "the form is written; its gaps are marked",
        ExitStatus.USAGE: "there is no such incident or obligation, or the file exists and is of "
        "another kind",
    },
    example="standfast deadline form inc-2026-0001 eu-gdpr-33-authority --to form.html",
)
@incident_argument
@obligation_argument
@click.option("--to", type=FilePath(), metavar="FILE", help="By default OBLIGATION.html.")
@click.pass_obj
def form(
    call: Call, incident: str | None, obligation_id: str | None, to: Path | None
) -> ExitStatus:
    """Write the form of an obligation as a page, with its gaps marked.

    Standfast never sends a form.
    """
    from standfast.reports.authority_form_page import form_page
    from standfast.reports.html_page import write_page
    from standfast.usecases.deadlines.legal_clocks import filled_form
    from standfast.usecases.reports.result_pages import heading

    with open_incident(call, incident, obligation_id, takes="OBLIGATION") as (
        installation,
        incident_id,
        (name,),
    ):
        filled = filled_form(installation, incident_id, name)
        page = form_page(filled, heading(installation), incident_id, installation.clock())
    out = (to or Path(f"{name}.html")).absolute()
    write_page(page, out)
    gaps = [field for field in filled.fields if field.is_gap]
    lines: list[Line] = [f"Written: {out}"]
    if gaps:
        how = f"standfast deadline content {incident_id} TOPIC TEXT"
        lines.append(f"{len(gaps)} of {len(filled.fields)} fields are empty. Fill them: `{how}`:")
        lines.append(Table(rows=[[field.topic, field.question] for field in gaps], indent=2))
    status = ExitStatus.PARTIAL if gaps else ExitStatus.DONE
    document: JsonObject = {
        "form": str(out),
        "gaps": [field.topic for field in gaps],
        "exit_status": int(status),
    }
    return call.print_result(document, lines, status)


@command(
    "calendar",
    exits={
        ExitStatus.DONE: "the calendar is written",
        ExitStatus.USAGE: "there is no such incident, or the file exists and is of another kind",
    },
    example="standfast deadline calendar inc-2026-0001 --to due.ics",
)
@incident_argument
@click.option("--to", type=FilePath(), metavar="FILE", help="By default INCIDENT.ics.")
@click.pass_obj
def calendar(call: Call, incident: str | None, to: Path | None) -> ExitStatus:
    """Write the due dates as a calendar file (iCalendar), to import it.

    For a subscription, see `standfast deadline feed`.
    """
    from standfast.reports.html_page import write_page
    from standfast.usecases.deadlines.calendar_feed import due_calendar

    with open_incident(call, incident) as (installation, incident_id, _):
        text, count = due_calendar(installation, incident_id)
    out = (to or Path(f"{incident_id}.ics")).absolute()
    write_page(text, out)
    return call.print_result(
        {"calendar": str(out), "due": count}, [f"{counted(count, 'due date')} written: {out}"]
    )


@command(
    "show",
    exits={
        ExitStatus.DONE: "the obligation is shown with its sources",
        ExitStatus.USAGE: "there is no such obligation",
    },
    example="standfast deadline show eu-gdpr-33-authority",
    needs_ledger=False,
)
@click.argument("obligation_id", metavar="OBLIGATION", help="The obligation's id.")
@click.pass_obj
def show(call: Call, obligation_id: str) -> ExitStatus:
    """Show an obligation: its rule, its content and its sources."""
    from standfast.deadlines import NOT_ADVICE
    from standfast.usecases.deadlines.obligations import shipped

    known = {obligation.id: obligation for obligation in shipped()}
    if (obligation := known.get(obligation_id)) is None:
        raise UsageError(
            f"obligation {obligation_id!r}: unknown. `standfast deadline list INCIDENT --all` "
            f"lists the obligations of this installation{nearest_name_hint(obligation_id, known)}"
        )
    limit = obligation.limit
    rows = [
        ["where", obligation.jurisdiction],
        ["law", f"{obligation.instrument}, {obligation.section}"],
        ["applies to", obligation.obligated_party],
        ["notify", f"{obligation.recipient_name} ({obligation.recipient.value.replace('_', ' ')})"],
        ["limit", f"{limit.kind.value.replace('_', ' ')}: {limit_text(obligation)}"],
        ["threshold", obligation.threshold],
        ["test", obligation.risk_test],
        ["contents", "; ".join(obligation.content)],
        ["channels", obligation.channels],
        ["delay", obligation.delay],
        ["notes", obligation.notes],
        ["state", obligation.status.value.replace("_", " ")],
        ["sources", "; ".join(obligation.sources)],
        ["checked on", f"{obligation.read_on}, confidence {obligation.confidence.value}"],
    ]
    document: JsonObject = {name.replace(" ", "_"): text for name, text in rows}
    lines: list[Line] = [
        obligation.id,
        Table(rows=[row for row in rows if row[1]], indent=2),
        NOT_ADVICE,
    ]
    return call.print_result({"id": obligation.id, **document, "note": NOT_ADVICE}, lines)


@command(
    "places",
    exits={ExitStatus.DONE: "the places, sectors, facts and topics are listed"},
    example="standfast deadline places",
    needs_ledger=False,
)
@click.pass_obj
def places(call: Call) -> ExitStatus:
    """List the jurisdictions, sectors, facts and form topics."""
    from standfast.deadlines.applicability import Sector
    from standfast.deadlines.authority_forms import TOPICS
    from standfast.deadlines.clock_starts import QUESTIONS
    from standfast.usecases.deadlines.obligations import shipped

    counts = Counter(obligation.jurisdiction for obligation in shipped())
    lines: list[Line] = [
        Table(
            rows=[[name, str(count)] for name, count in sorted(counts.items())],
            headings=["place", "obligations"],
        ),
        "",
        f"Sectors with separate obligations: {', '.join(Sector)}",
        "",
        "Facts that start clocks:",
        Table(rows=[[name, text] for name, text in QUESTIONS.items()], indent=2),
        "",
        "Topics of forms:",
        Table(rows=[[name, text] for name, text in TOPICS.items()], indent=2),
    ]
    document: JsonObject = {
        "places": dict(sorted(counts.items())),
        "sectors": [*Sector],
        "facts": dict(QUESTIONS),
        "topics": dict(TOPICS),
    }
    return call.print_result(document, lines)


deadline = Group(
    "deadline",
    help="Show and fulfil legal deadlines: who must be notified, and by when.",
    commands=[
        list_deadlines,
        fact,
        affected,
        answer,
        notified,
        delay,
        content,
        form,
        calendar,
        feed,
        show,
        places,
    ],
)
