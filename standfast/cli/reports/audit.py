"""`standfast audit`: the timeline and its verification."""

from pathlib import Path

import click

from standfast.cli.incidents.incident_arguments import is_incident_id
from standfast.cli.parsing.commands import Group, command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.errors import ExitStatus, UsageError
from standfast.local_time import second
from standfast.plurals import counted
from standfast.records import Json, timestamp
from standfast.suggestions import nearest_name_hint


@command(
    "verify",
    exits={
        ExitStatus.DONE: "every event, row, head and witness line agrees",
        ExitStatus.USAGE: "there is no ledger where the configuration says",
        ExitStatus.PARTIAL: "all of it agrees, but the witness lacks signed heads for longer "
        "than another host's `serve` takes to tell it",
        ExitStatus.DAMAGED: "a row was changed outside the ledger; it is named",
    },
    example="standfast audit verify",
)
@click.pass_obj
def verify(call: Call) -> ExitStatus:
    """Verify the audit chain, its rows, signed heads and witness."""
    with call.installation() as installation, call.progress() as tell:
        report = installation.ledger.audit.verify(
            lambda events: tell("verifying events", events, 0), now=installation.clock()
        )
        witness = installation.config.ledger.witness
    status = ExitStatus.PARTIAL if report.untold else ExitStatus.DONE
    if not report.is_whole:
        status = ExitStatus.DAMAGED
    counts: dict[str, Json] = {
        "events": report.events,
        "rows": report.rows,
        "heads": report.heads,
        "witnessed": report.witnessed,
        "untold": report.untold,
    }
    findings = [{"where": finding.where, "problem": finding.problem} for finding in report.findings]
    text = (
        f"{counted(report.events, 'event')}, {counted(report.rows, 'row')}, "
        f"{counted(report.heads, 'signed head')}, {report.witnessed:,} of them confirmed by the "
        "witness"
    )
    lines: list[Line] = [f"Whole: {text}."]
    if report.untold:
        lines.append(
            f"{witness} says nothing of {counted(report.untold, 'signed head')}: it was cut, or it "
            "could not be written. Find out which; `standfast check` tells it again what its "
            "end lacks."
        )
    if not report.is_whole:
        lines = [
            Table(rows=[[finding.where, finding.problem] for finding in report.findings]),
            "",
            f"{counted(len(findings), 'thing does', 'things do')} not agree, of {text}.",
            "Next: copy the ledger, its keys and its witness as they are; then look at line 1.",
        ]
    call.say(
        {"is_whole": report.is_whole, **counts, "findings": findings, "exit_status": int(status)},
        lines,
    )
    return status


@command(
    "show",
    exits={
        ExitStatus.DONE: "the events are shown",
        ExitStatus.USAGE: "no event is of that subject, or by that person; or there is no "
        "ledger where the configuration says",
    },
    example="standfast audit show inc-2026-0001",
)
@click.argument(
    "subject",
    required=False,
    help="An incident, a run or a person, with what they did; all without.",
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
                f"the timeline has no event of {subject!r}; without a subject `standfast audit "
                f"show` shows all{nearest_name_hint(subject, known)}"
            )
    document: list[Json] = [
        {
            "sequence": event.sequence,
            "at": timestamp(event.at),
            "actor": event.actor,
            "subject": event.subject,
            "action": event.action,
            "detail": event.detail,
        }
        for event in events
    ]
    rows = [
        [
            str(event.sequence),
            second(event.at, zone),
            event.actor,
            event.subject,
            event.action,
            ", ".join(f"{key}={value}" for key, value in event.detail.items()),
        ]
        for event in events
    ]
    call.say(
        {"events": document},
        [Table(rows=rows)],
    )
    return ExitStatus.DONE


@command(
    "export",
    exits={
        ExitStatus.DONE: "the timeline and the program that checks it are in the folder",
        ExitStatus.USAGE: "there is no such incident, or the folder is there already",
        ExitStatus.PARTIAL: "its newest events are not in it: no head covers them, and this "
        "ledger can only be read",
        ExitStatus.DAMAGED: "an event was changed outside the ledger; nothing is exported",
    },
    example="standfast audit export inc-2026-0001 --to for-the-examiner",
)
@click.argument("incident")
@click.option("--to", type=FilePath(), required=True, help="A new folder for it.")
@click.pass_obj
def export(call: Call, incident: str, to: Path) -> ExitStatus:
    """Export the signed timeline of an incident, with its verifier.

    The export is for an examiner, who needs no other part of Standfast. It contains no personal
    data. It also contains the events of other incidents from the same time.
    """
    from standfast.usecases.reports.audit_export import export_timeline

    with call.installation() as installation:
        exported = export_timeline(installation, incident, to)
    status = ExitStatus.PARTIAL if exported.unsigned else ExitStatus.DONE
    evidence = (
        f"as `standfast evidence export {incident} --to FOLDER --unmasked --reason WHY` writes it"
    )
    lacks = (
        f"NOT IN IT: {counted(exported.unsigned, 'newer event')} of the incident: no head is "
        "signed over them, and this ledger can only be read. Export it where the place is in use."
    )
    call.say(
        {
            "incident": incident,
            "timeline": str(exported.timeline),
            "program": str(exported.program),
            "events": exported.events,
            "unsigned": exported.unsigned,
            "seal_key": exported.seal_key,
            "ledger_key": exported.ledger_key,
            "exit_status": int(status),
        },
        [
            *([lacks] if exported.unsigned else []),
            f"{counted(exported.events, 'event')}, signed: {exported.timeline}",
            f"Hand it over with the evidence, {evidence}, and these keys by another way:",
            f"  --seal-key {exported.seal_key}",
            f"  --ledger-key {exported.ledger_key}",
            f"Next: who examines it reads {exported.program}, which says how it is checked.",
        ],
    )
    return status


audit = Group(
    "audit",
    help="The timeline of everything, and whether it is whole.",
    commands=[verify, show, export],
)
