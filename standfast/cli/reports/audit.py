"""`standfast audit verify`, `show`, `export`: the audit chain.

The audit chain is the list of all recorded events, each with the hash of the event before it. A
head is the signed number and hash of an event. The witness is a file with a copy of all heads.
"""

from pathlib import Path

import click

from standfast.cli.incidents.event_text import event_cells, event_json
from standfast.cli.incidents.incident_arguments import is_incident_id
from standfast.cli.parsing.commands import Group, command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.errors import ExitStatus, UsageError
from standfast.plurals import counted
from standfast.records import Json
from standfast.suggestions import nearest_name_hint


@command(
    "verify",
    exits={
        ExitStatus.DONE: "every event, row, signed head and line of the witness agrees",
        ExitStatus.PARTIAL: "all of it agrees, but the witness lacks signed heads that it should "
        "have by now",
        ExitStatus.DAMAGED: "a row was changed outside the ledger; it is named",
    },
    example="standfast audit verify",
)
@click.pass_obj
def verify(call: Call) -> ExitStatus:
    """Verify the audit chain, its rows, signed heads and witness."""
    with call.installation() as installation, call.progress() as show_progress:
        report = installation.ledger.audit.verify(
            lambda events: show_progress("verifying events", events, 0), now=installation.clock()
        )
        witness = installation.config.ledger.witness
    status = ExitStatus.PARTIAL if report.missing_heads else ExitStatus.DONE
    if not report.is_whole:
        status = ExitStatus.DAMAGED
    findings: list[Json] = [
        {"where": finding.where, "problem": finding.problem} for finding in report.findings
    ]
    text = (
        f"{counted(report.events, 'event')}, {counted(report.rows, 'row')}, "
        f"{counted(report.heads, 'signed head')}, {report.witnessed:,} of them confirmed by the "
        "witness"
    )
    lines: list[Line] = [f"Intact: {text}."]
    if report.missing_heads:
        lines.append(
            f"{witness}: {counted(report.missing_heads, 'signed head')} missing: the witness was "
            "truncated, or could not be written. Find the cause; `standfast check` then appends "
            "the missing heads."
        )
    if not report.is_whole:
        lines = [
            Table(rows=[[finding.where, finding.problem] for finding in report.findings]),
            "",
            f"DAMAGED: {counted(len(findings), 'problem')} in {text}.",
            (
                "Next: copy the ledger, its keys and its witness unchanged; then examine the "
                "first problem."
            ),
        ]
    document: dict[str, Json] = {
        "is_whole": report.is_whole,
        "events": report.events,
        "rows": report.rows,
        "heads": report.heads,
        "witnessed": report.witnessed,
        "missing_heads": report.missing_heads,
        "findings": findings,
    }
    return call.print_result(document, lines, status)


@command(
    "show",
    exits={
        ExitStatus.DONE: "the events are shown",
        ExitStatus.USAGE: "no event has that subject or actor",
    },
    example="standfast audit show inc-2026-0001",
)
@click.argument(
    "subject",
    required=False,
    help="An incident, a run, or a person as subject or actor; by default all events.",
)
@click.pass_obj
def show(call: Call, subject: str | None) -> ExitStatus:
    """Show the timeline, which contains no personal data."""
    with call.installation() as installation:
        zone = installation.config.organisation.time_zone
        is_incident = subject is not None and is_incident_id(subject)
        events = installation.ledger.timeline(subject, or_by=None if is_incident else subject)
        if subject is not None and not events:
            known = {
                name
                for event in installation.ledger.timeline()
                for name in (event.subject, event.actor)
            }
            raise UsageError(
                f"subject {subject!r}: no event has it. `standfast audit show` shows all events"
                f"{nearest_name_hint(subject, known)}"
            )
    document: list[Json] = [{**event_json(event), "subject": event.subject} for event in events]
    rows: list[list[str]] = []
    for event in events:
        at, actor, *action = event_cells(event, zone)
        rows.append([str(event.sequence), at, actor, event.subject, *action])
    return call.print_result({"events": document}, [Table(rows=rows)])


@command(
    "export",
    exits={
        ExitStatus.DONE: "the timeline and its verifier are in the folder",
        ExitStatus.USAGE: "there is no such incident, or the folder exists",
        ExitStatus.PARTIAL: "the newest events are missing: no signed head covers them, and this "
        "ledger is read-only",
        ExitStatus.DAMAGED: "an event was changed outside the ledger; nothing is exported",
    },
    example="standfast audit export inc-2026-0001 --to for-the-examiner",
)
@click.argument("incident", help="The incident.")
@click.option("--to", type=FilePath(), required=True, metavar="DIR", help="A new folder.")
@click.pass_obj
def export(call: Call, incident: str, to: Path) -> ExitStatus:
    """Export the signed timeline of an incident, with its verifier.

    The export is for an examiner, who needs no other part of Standfast. It contains no personal
    data. It also contains the events of other incidents from the same time.
    """
    from standfast.usecases.reports.audit_export import export_timeline

    with call.installation() as installation:
        exported = export_timeline(installation, incident, to)
    evidence = f"`standfast evidence export {incident} --to FOLDER --unmasked --reason WHY`"
    missing: list[Line] = []
    if exported.unsigned:
        missing.append(
            f"MISSING: {counted(exported.unsigned, 'newer event')} of the incident: no signed head "
            "covers them, and this ledger is read-only. Export on the host that uses the "
            "installation."
        )
    document: dict[str, Json] = {
        "incident": incident,
        "timeline": str(exported.timeline),
        "program": str(exported.program),
        "events": exported.events,
        "unsigned": exported.unsigned,
        "seal_key": exported.seal_key,
        "ledger_key": exported.ledger_key,
    }
    lines = [
        *missing,
        f"{counted(exported.events, 'event')}, signed: {exported.timeline}",
        f"Add the evidence ({evidence}). Send these keys separately:",
        f"  --seal-key {exported.seal_key}",
        f"  --ledger-key {exported.ledger_key}",
        f"Next: the examiner follows the instructions in {exported.program}.",
    ]
    return call.print_result(
        document, lines, ExitStatus.PARTIAL if exported.unsigned else ExitStatus.DONE
    )


audit = Group(
    "audit",
    help="Show and verify the timeline of everything that was done.",
    commands=[verify, show, export],
)
