"""`standfast deadline`: legal clocks and the facts that decide them."""

from pathlib import Path

import click

from standfast.cli.deadlines.calendar_subscriptions import feed
from standfast.cli.deadlines.clock_text import clock_document, clock_lines, limit_text
from standfast.cli.deadlines.incident_facts import (
    affected,
    answer,
    content,
    delay,
    duty_argument,
    fact,
    told,
)
from standfast.cli.incidents.incident_arguments import incident_argument, resolve_incident
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
        ExitStatus.PARTIAL: "one is missed",
        ExitStatus.USAGE: "there is no such incident, or no law is configured",
    },
    example="standfast deadline list inc-2026-0001",
)
@incident_argument
@click.option(
    "--all", "everything", is_flag=True, help="Also what is done, not owed, or no law yet."
)
@click.pass_obj
def list_deadlines(call: Call, incident: str | None, everything: bool) -> ExitStatus:
    """List legal duties with their recipients, due dates and open questions.

    The strict date comes first, because nobody can call it late. The lenient date follows it.
    """
    from standfast.deadlines import NOT_ADVICE
    from standfast.deadlines.legal_clocks import Standing
    from standfast.usecases.deadlines.legal_clocks import incident_clocks, is_open

    with call.installation() as installation:
        incident, _ = resolve_incident(installation, incident)
        clocks = incident_clocks(installation, incident)
        now, zone = installation.clock(), installation.config.organisation.time_zone
        if not clocks:
            raise UsageError(
                "no law is configured here: name your places and trades in [deadlines]"
                " (`standfast deadline places` lists them)"
            )
    shown = [clock for clock in clocks if everything or is_open(clock)]
    lines: list[Line] = []
    for clock in shown:
        lines += [*clock_lines(clock, now, zone), ""]
    hidden = len(clocks) - len(shown)
    if hidden:
        verb = "is" if hidden == 1 else "are"
        lines.append(f"{hidden} more {verb} done, not owed or no law yet; --all shows all.")
    is_missed = any(clock.standing is Standing.MISSED for clock in clocks)
    status = ExitStatus.PARTIAL if is_missed else ExitStatus.DONE
    document: JsonObject = {
        "incident": incident,
        "exit_status": int(status),
        "clocks": [clock_document(clock) for clock in clocks],
        "note": NOT_ADVICE,
    }
    lines.append(NOT_ADVICE)
    if any(clock.questions for clock in shown):
        lines.append(
            f"Next: state what is known: `standfast deadline fact {incident} NAME --at TIME`; judge"
            f" a test: `standfast deadline answer {incident} DUTY yes|no --because TEXT`."
        )
    return call.say(document, lines, status)


@command(
    "form",
    exits={
        ExitStatus.DONE: "the form is written, whole",
        ExitStatus.PARTIAL: "it is written, with gaps that are marked",
        ExitStatus.USAGE: "there is no such incident or duty, or another file is there",
    },
    example="standfast deadline form inc-2026-0001 eu-gdpr-33-authority --to form.html",
)
@incident_argument
@duty_argument
@click.option("--to", type=FilePath(), metavar="FILE", help="Where to; DUTY.html without.")
@click.pass_obj
def form(call: Call, incident: str | None, duty: str | None, to: Path | None) -> ExitStatus:
    """Write the form of a duty as a page, with its gaps marked.

    Standfast never sends a form.
    """
    from standfast.reports.authority_form_page import form_page
    from standfast.reports.html_page import write_page
    from standfast.usecases.deadlines.legal_clocks import filled_form
    from standfast.usecases.reports.result_pages import heading

    with call.installation() as installation:
        incident, (duty,) = resolve_incident(
            installation, incident, duty, least=1, most=1, takes="DUTY"
        )
        filled = filled_form(installation, incident, duty)
        page = form_page(filled, heading(installation), incident, installation.clock())
    out = (to or Path(f"{duty}.html")).absolute()
    write_page(page, out)
    gaps = [field for field in filled.fields if field.is_gap]
    lines: list[Line] = [f"The form is written: {out}"]
    if gaps:
        how = f"standfast deadline content {incident} TOPIC TEXT"
        lines.append(
            f"{len(gaps)} of {len(filled.fields)} fields are gaps. Fill them with `{how}`:"
        )
        lines.append(Table(rows=[[field.topic, field.question] for field in gaps], indent=2))
    status = ExitStatus.PARTIAL if gaps else ExitStatus.DONE
    document: JsonObject = {
        "form": str(out),
        "gaps": [field.topic for field in gaps],
        "exit_status": int(status),
    }
    return call.say(document, lines, status)


@command(
    "calendar",
    exits={
        ExitStatus.DONE: "the calendar is written",
        ExitStatus.USAGE: "there is no such incident, or another file is there",
    },
    example="standfast deadline calendar inc-2026-0001 --to due.ics",
)
@incident_argument
@click.option("--to", type=FilePath(), metavar="FILE", help="Where to; INCIDENT.ics without.")
@click.pass_obj
def calendar(call: Call, incident: str | None, to: Path | None) -> ExitStatus:
    """Write the due dates as a calendar file (iCalendar), to import it.

    For a subscription, see `standfast deadline feed`.
    """
    from standfast.reports.html_page import write_page
    from standfast.usecases.deadlines.calendar_feed import due_calendar

    with call.installation() as installation:
        incident, _ = resolve_incident(installation, incident)
        text, count = due_calendar(installation, incident)
    out = (to or Path(f"{incident}.ics")).absolute()
    write_page(text, out)
    return call.say(
        {"calendar": str(out), "due": count}, [f"{counted(count, 'due date')} written: {out}"]
    )


@command(
    "show",
    exits={
        ExitStatus.DONE: "the duty is shown with its sources",
        ExitStatus.USAGE: "there is no such duty",
    },
    example="standfast deadline show eu-gdpr-33-authority",
    needs_ledger=False,
)
@click.argument("duty", help="The duty's id.")
@click.pass_obj
def show(call: Call, duty: str) -> ExitStatus:
    """Show a legal duty: its rule, its content and its sources."""
    from standfast.deadlines import NOT_ADVICE
    from standfast.usecases.deadlines.obligations import shipped

    for obligation in shipped():
        if obligation.id == duty:
            break
    else:
        raise UsageError(
            f"no duty is known as {duty!r}; `standfast deadline list INCIDENT --all` names those"
            f" that concern this place{nearest_name_hint(duty, [known.id for known in shipped()])}"
        )
    limit = obligation.limit
    rows = [
        ["where", obligation.jurisdiction],
        ["written in", f"{obligation.instrument}, {obligation.section}"],
        ["binds", obligation.duty_holder],
        [
            "to tell",
            f"{obligation.recipient_name} ({obligation.recipient.value.replace('_', ' ')})",
        ],
        ["limit", f"{limit.kind.value.replace('_', ' ')}: {limit_text(obligation)}"],
        ["threshold", obligation.threshold],
        ["test", obligation.risk_test],
        ["must hold", "; ".join(obligation.content)],
        ["by", obligation.channels],
        ["delay", obligation.delay],
        ["notes", obligation.notes],
        ["state", obligation.status.value.replace("_", " ")],
        ["sources", "; ".join(obligation.sources)],
        ["read on", f"{obligation.read_on}, confidence {obligation.confidence.value}"],
    ]
    document: JsonObject = {name.replace(" ", "_"): text for name, text in rows}
    lines: list[Line] = [
        obligation.id,
        Table(rows=[row for row in rows if row[1]], indent=2),
        NOT_ADVICE,
    ]
    return call.say({"id": obligation.id, **document, "note": NOT_ADVICE}, lines)


@command(
    "places",
    exits={ExitStatus.DONE: "the places and facts that clocks know are listed"},
    example="standfast deadline places",
    needs_ledger=False,
)
@click.pass_obj
def places(call: Call) -> ExitStatus:
    """List the jurisdictions, sectors, facts and form topics."""
    from collections import Counter

    from standfast.deadlines.applicability import Sector
    from standfast.deadlines.authority_forms import TOPICS
    from standfast.deadlines.clock_starts import QUESTIONS
    from standfast.usecases.deadlines.obligations import shipped

    counts = Counter(obligation.jurisdiction for obligation in shipped())
    lines: list[Line] = [
        Table(
            rows=[[name, str(count)] for name, count in sorted(counts.items())],
            headings=["place", "duties"],
        ),
        "",
        f"Trades with duties of their own: {', '.join(Sector)}",
        "",
        "Facts that clocks start from:",
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
    return call.say(document, lines)


deadline = Group(
    "deadline",
    help="Legal clocks: what is due to whom, by when.",
    commands=[
        list_deadlines,
        fact,
        affected,
        answer,
        told,
        delay,
        content,
        form,
        calendar,
        feed,
        show,
        places,
    ],
)
