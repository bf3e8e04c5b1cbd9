"""`standfast evidence export`: copies of the evidence for others.

The originals are sealed: a signature covers the list of their hashes.
"""

from pathlib import Path

import click

from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line
from standfast.errors import ExitStatus, UsageError
from standfast.plurals import counted

_MAX_SHOWN_ROWS = 20


@command(
    "export",
    exits={
        ExitStatus.DONE: "all evidence is written",
        ExitStatus.FAILED: "no evidence is valid, or the folder cannot be written",
        ExitStatus.USAGE: "there is no such incident, it has no evidence, the folder exists, or "
        "encrypted evidence needs --identity",
        ExitStatus.PARTIAL: "some files are not text and have no masked copy; each is named",
        ExitStatus.REFUSED: "the identity does not open a folder",
        ExitStatus.DAMAGED: "a copy differs from its seal, or is missing; the rest is written",
    },
    example="standfast evidence export inc-2026-0001 --to for-the-client",
)
@click.argument("incident", help="The incident.")
@click.option("--to", type=FilePath(), required=True, metavar="DIR", help="A new folder.")
@click.option(
    "--unmasked", is_flag=True, help="Export the originals in clear; the export is recorded."
)
@click.option(
    "--reason", default="", help="The reason for --unmasked, without names; it is recorded."
)
@click.option(
    "--identity",
    type=FilePath(),
    metavar="FILE",
    help="The age identity or SSH key of a custodian, to mask encrypted evidence.",
)
@click.pass_obj
def export(
    call: Call, incident: str, to: Path, unmasked: bool, reason: str, identity: Path | None
) -> ExitStatus:
    """Export the evidence of an incident as masked copies.

    Card numbers, social-security numbers and mail addresses are masked. The sealed
    originals stay unchanged, and the index has the hash of each of them.
    """
    from standfast.usecases.evidence.export import INDEX_FILE, export_evidence

    if unmasked != bool(reason.strip()):
        raise UsageError("arguments: --unmasked and --reason TEXT need each other. Give both")
    if unmasked and identity:
        raise UsageError("arguments: --unmasked and --identity exclude each other. Give one")
    with call.installation() as installation, call.progress() as show_progress:
        exported = export_evidence(
            installation,
            incident,
            to.absolute(),
            unmasked_because=reason.strip(),
            identity=identity,
            progress=lambda done, total: show_progress("writing bytes", done, total),
        )
    status, found = exported.exit_status, exported.masked
    files = counted(exported.files, "file")
    lines: list[Line] = [
        f"{files}, masked: {counted(found.cards, 'card number')}, "
        f"{counted(found.social_security, 'social-security number')}, "
        f"{counted(found.mail, 'mail address', 'mail addresses')}: {exported.folder}"
        if exported.is_masked
        else f"{files} IN CLEAR, with their seals: {exported.folder}"
    ]
    lines += [
        f"LEFT OUT: {counted(many, 'file')}, each of which {why}; {INDEX_FILE} names them"
        for why, many in exported.left_out.items()
    ]
    lines += [
        f"LEFT OUT: {source}: one of its folders is damaged or missing"
        for source in exported.unsound
    ]
    lines += [f"DAMAGED: {file}" for file in exported.altered[:_MAX_SHOWN_ROWS]]
    if len(exported.altered) > _MAX_SHOWN_ROWS:
        lines.append(f"and {len(exported.altered) - _MAX_SHOWN_ROWS:,} more")
    if exported.altered or exported.unsound:
        lines.append(f"To see the cause: `standfast evidence verify {incident}`.")
    lines.append(
        f"{INDEX_FILE} lists the hash of each original. The timeline records the index's hash: "
        f"{exported.index}"
        if exported.is_masked
        else "The timeline and the chain of custody record the export and its reason. Next: add "
        f"the verifier: `standfast audit export {incident} --to FOLDER`."
    )
    return call.print_result({"incident": incident, **exported.as_json()}, lines, status)
