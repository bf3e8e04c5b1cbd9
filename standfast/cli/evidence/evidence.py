"""`standfast evidence list`, `verify`, `stamp`, `copy`; the group.

A seal is a signature over the list of the collected files. The ledger is the database of incidents,
which records each seal.
"""

from datetime import datetime
from typing import TYPE_CHECKING

import click

from standfast.cli.evidence.evidence_disposal import dispose, hold, release
from standfast.cli.evidence.evidence_export import export
from standfast.cli.evidence.evidence_opening import open_item
from standfast.cli.evidence.evidence_review import review
from standfast.cli.parsing.commands import Group, command
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.errors import ExitStatus
from standfast.local_time import second
from standfast.plurals import counted
from standfast.records import moment

if TYPE_CHECKING:
    from standfast.usecases.evidence.frozen_folders import Frozen

_UNCHECKED = "It is unknown whether a disposal was approved, and whether a folder is missing: "


@command(
    "list",
    exits={
        ExitStatus.DONE: "the sealed folders are listed; there may be none",
        ExitStatus.FAILED: "no evidence is found, and the ledger that would name it cannot be read",
        ExitStatus.USAGE: "there is no such incident, or the evidence key is missing",
        ExitStatus.PARTIAL: "the found evidence is listed, but the ledger cannot be read: a folder "
        "may be missing",
        ExitStatus.DAMAGED: "a seal is not valid, or a folder is missing, or was disposed of "
        "without an approval; it is named",
    },
    example="standfast evidence list inc-2026-0001",
    needs_ledger=False,
)
@click.argument("incident", required=False, help="An incident; by default all of them.")
@click.pass_obj
def list_evidence(call: Call, incident: str | None) -> ExitStatus:
    """List the evidence by incident and source."""
    from standfast.usecases.evidence.frozen_folders import list_frozen, seal_key

    with call.installation(needs_ledger=False) as installation:
        listed, zone = (
            list_frozen(installation, incident),
            installation.config.organisation.time_zone,
        )
        key = seal_key(installation.config)
    found, status = listed.evidence, listed.exit_status
    rows = [
        [
            folder.incident,
            folder.source,
            second(datetime.fromisoformat(folder.collected_at), zone)
            if folder.collected_at
            else "",
            "DAMAGED" if folder.problems else _describe_content(folder),
            f"clock {folder.clock}" if folder.clock else "",
            f"time stamp: {folder.stamp}" if folder.stamp else "",
            str(folder.folder),
        ]
        for folder in found
    ]
    scope = f" for {incident}" if incident else ""
    lines: list[Line] = (
        [Table(rows=rows), "", f"Sealed with the key {key}"]
        if rows
        else [f"No evidence was frozen{scope} yet."]
    )
    lines += [f"{folder.folder}: {problem}" for folder in found for problem in folder.problems]
    if listed.ledger_problem:
        lines.append(f"{_UNCHECKED}{listed.ledger_problem}")
    return call.print_result(
        {
            "evidence": [folder.as_json() for folder in found],
            "seal_key": key,
            "unrecorded": listed.ledger_problem,
        },
        lines,
        status,
    )


@command(
    "verify",
    exits={
        ExitStatus.DONE: "no copy, seal or chain of custody is missing, and all of them agree",
        ExitStatus.FAILED: "no evidence is found, and the ledger that would name it cannot be read",
        ExitStatus.USAGE: "the incident has no evidence",
        ExitStatus.PARTIAL: "the found evidence is intact, but the ledger cannot be read, a copy "
        "in the bucket is incomplete, or a time stamp is missing",
        ExitStatus.DAMAGED: "a copy differs from its seal, or is missing; it is named",
    },
    example="standfast evidence verify inc-2026-0001",
    needs_ledger=False,
)
@click.argument("incident", help="The incident.")
@click.pass_obj
def verify(call: Call, incident: str) -> ExitStatus:
    """Compare the evidence with its seals, and the seals with the ledger."""
    from standfast.usecases.evidence.frozen_folders import verify_frozen

    with call.installation(needs_ledger=False) as installation:
        verified = verify_frozen(installation, incident)
    found = verified.evidence
    damaged = [folder for folder in found if folder.problems]
    status = verified.exit_status
    lines: list[Line] = []
    for evidence in found:
        lines.append(f"{evidence.folder}: {_verdict(evidence)}")
        lines += [f"  {problem}" for problem in evidence.problems]
        lines += [f"  time stamp: {evidence.stamp}"] if evidence.stamp else []
        lines += [f"  time stamp: {why}" for why in evidence.stamp_unchecked]
        lines += [f"  copy: {evidence.copy}"] if evidence.copy else []
        lines += [f"  copy: {problem}" for problem in evidence.copy_problems]
    lines += [
        "",
        f"DAMAGED: {len(damaged)} of {counted(len(found), 'folder')}."
        if damaged
        else f"Intact: {counted(len(found), 'sealed folder')}.",
    ]
    if verified.ledger_problem:
        lines.append(f"{_UNCHECKED}{verified.ledger_problem}")
    return call.print_result(
        {
            "incident": incident,
            "is_whole": not damaged,
            "evidence": [folder.as_json() for folder in found],
            "unrecorded": verified.ledger_problem,
        },
        lines,
        status,
    )


def _verdict(evidence: "Frozen") -> str:
    if evidence.problems:
        return "DAMAGED"
    if evidence.disposed_at:
        at = second(moment(evidence.disposed_at), "UTC")
        return f"disposed of at {at}; its seal and its certificate are intact"
    return "intact"


@command(
    "stamp",
    exits={
        ExitStatus.DONE: "every folder has a time stamp",
        ExitStatus.USAGE: "no authority is configured, or the incident has no evidence",
        ExitStatus.PARTIAL: "a time stamp is missing; the reason is shown. Run the command again",
        ExitStatus.DAMAGED: "every folder is missing",
    },
    example="standfast evidence stamp inc-2026-0001",
    needs_ledger=False,
)
@click.argument("incident", help="The incident.")
@click.pass_obj
def stamp(call: Call, incident: str) -> ExitStatus:
    """Request the missing time stamps of the evidence.

    `standfast serve` does so automatically, soon after the evidence was sealed. Use this command if
    `serve` is not running, or if the authority of `[custody.timestamp]` did not respond. A stamp
    shows the time at which it is made.
    """
    from standfast.usecases.evidence.time_stamp_requests import stamp_frozen

    with call.installation(needs_ledger=False) as installation:
        stamped = stamp_frozen(installation, incident)
    status = ExitStatus.PARTIAL if any(folder.problem for folder in stamped) else ExitStatus.DONE
    lines = [f"{folder.folder}: {folder.sentence}" for folder in stamped]
    return call.print_result(
        {
            "incident": incident,
            "stamps": [folder.as_json() for folder in stamped],
        },
        lines or ["Every folder already has a time stamp."],
        status,
    )


@command(
    "copy",
    exits={
        ExitStatus.DONE: "every folder is in the bucket",
        ExitStatus.FAILED: "the bucket does not respond",
        ExitStatus.USAGE: "no bucket is configured, or the incident has no evidence",
        ExitStatus.PARTIAL: "a copy is missing; the reason is shown. Run the command again",
        ExitStatus.DAMAGED: "every folder is missing",
    },
    example="standfast evidence copy inc-2026-0001",
    needs_ledger=False,
)
@click.argument("incident", help="The incident.")
@click.pass_obj
def copy(call: Call, incident: str) -> ExitStatus:
    """Copy missing evidence into the bucket of `[custody.s3]`.

    Evidence is copied automatically after an incident collects and seals it. Use this command for
    evidence that was sealed earlier or could not be copied.
    """
    from standfast.usecases.evidence.frozen_folders import copy_frozen

    with call.installation(needs_ledger=False) as installation:
        copied = copy_frozen(installation, incident)
    status = ExitStatus.PARTIAL if any(folder.problem for folder in copied) else ExitStatus.DONE
    lines = [
        f"{folder.folder}: "
        f"{folder.problem or counted(folder.objects, 'object') + ' copied, the copy is complete'}"
        for folder in copied
    ]
    return call.print_result(
        {
            "incident": incident,
            "copies": [
                {"folder": str(folder.folder), "put": folder.objects, "problem": folder.problem}
                for folder in copied
            ],
        },
        lines,
        status,
    )


evidence = Group(
    "evidence",
    help="List, verify, review, open, copy, export, hold and dispose of sealed evidence.",
    commands=[
        list_evidence,
        verify,
        review,
        open_item,
        stamp,
        copy,
        export,
        hold,
        release,
        dispose,
    ],
)


def _describe_content(folder: "Frozen") -> str:
    """Return the number of files, and of incomplete and unread ones."""
    if folder.disposed_at:
        return "disposed of"
    return (
        counted(folder.files, "file")
        + (f", {folder.incomplete} incomplete" if folder.incomplete else "")
        + (f", {folder.unread} not read" if folder.unread else "")
    )
