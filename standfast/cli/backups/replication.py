"""`standfast backup copy` and `card`: second copy and recovery card.

The vault is the store of the encrypted backups. A custodian is a person that can decrypt backups.
The recovery card is the printed page with the fingerprints and steps that a restore needs.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.cli.backups.transfer_progress import report_to
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.cli.terminal.units import format_size
from standfast.errors import ExitStatus
from standfast.plurals import counted

if TYPE_CHECKING:
    from standfast.usecases.backups.replication import CopyOutcome


@command(
    "copy",
    exits={
        ExitStatus.DONE: "the copy is complete",
        ExitStatus.FAILED: "one of the two stores does not respond",
        ExitStatus.USAGE: "no such copy is configured, or its store contains another vault",
        ExitStatus.DAMAGED: "a damaged object was not copied",
    },
    example="standfast backup copy --to second-site",
)
@click.option("--to", required=True, metavar="NAME", help="The name in [backup.copies.NAME].")
@click.option(
    "--keys", is_flag=True, help="Also copy the key records; only custodians can open them."
)
@click.pass_obj
def copy(call: Call, to: str, keys: bool) -> ExitStatus:
    """Copy new objects of the vault to a second site; needs no key."""
    from standfast.usecases.backups.replication import replicate_to_second_site

    with call.progress() as show_progress:
        report = report_to(show_progress, f"copying to {to}")
        outcome = replicate_to_second_site(call.stores(), to, with_keys=keys, progress=report)
    return call.print_result(outcome.as_json(), _copy_lines(outcome), outcome.exit_status)


@command(
    "card",
    exits={
        ExitStatus.DONE: "the card is shown or written; it contains no secret",
        ExitStatus.FAILED: "the store does not respond, or the file cannot be written",
        ExitStatus.USAGE: "the configured vault is empty, or the file exists and is "
        "of another kind",
        ExitStatus.DAMAGED: "a record differs from what the owner or the keeper signed; the card "
        "is made without it",
    },
    example="standfast backup card --html card.html",
)
@click.option("--html", type=FilePath(), metavar="FILE", help="Write an HTML page to print.")
@click.pass_obj
def card(call: Call, html: Path | None) -> ExitStatus:
    """Show the recovery card: vault, custodians and steps of a restore."""
    from backup.ownership.recovery_card import card_page, card_text
    from standfast.reports.html_page import write_page
    from standfast.usecases.key_ceremonies.recovery_card import card_json, recovery_card

    made = recovery_card(call.stores())
    problems: list[Line] = [f"error: {problem}" for problem in made.roster.problems]
    if problems:
        problems.append(
            "Next: do not use this card, which may be old or incomplete. Correct what `standfast "
            "backup verify` names, then create the card again."
        )
    status = ExitStatus.DAMAGED if problems else ExitStatus.DONE
    document = {
        **card_json(made),
        "html": None if html is None else str(html),
        "exit_status": int(status),
    }
    if html is None:
        return call.print_result(document, [card_text(made).rstrip("\n"), *problems], status)
    write_page(card_page(made), html)
    lines: list[Line] = [f"Written: {html}, the recovery card. It contains no secret."]
    lines += problems or [
        "Next: print it twice, and keep the copies at two sites, away from the recovery identities."
    ]
    if not all(custodian.name for custodian in made.roster.custodians):
        lines.append(
            "Before you print it: a custodian has no name on the card. Add the name, so that "
            "people know whom to call: `standfast backup owner add-custodian` with the same key "
            "and --name."
        )
    if made.roster.lacks_documents:
        lines.append(
            "Before you print it: copy the bundled reader into the vault: `standfast backup owner "
            "publish`."
        )
    return call.print_result(document, lines, status)


def _copy_lines(outcome: "CopyOutcome") -> list[Line]:
    rows = [
        [kind, f"{count.copied:,} copied", format_size(count.bytes), f"{count.already:,} unchanged"]
        for kind, count in outcome.report.counts.items()
        if count.copied or count.already
    ]
    lines: list[Line] = [Table(rows=rows)]
    for finding in outcome.report.findings:
        lines.append(f"{finding.severity}: {finding.object}: {finding.problem}")
        lines.append(f"  → {finding.what_to_do}")
    if not outcome.traits.is_write_only:
        lines.append(f"Warning: the copy is not write-only: {outcome.traits.why}.")
    if outcome.report.is_whole:
        lines.append(f"{outcome.name} is a complete copy of the vault.")
        if not outcome.has_keys:
            lines.append(
                "Next: keep a copy of the key records at another place; --keys copies them to this "
                "site."
            )
    else:
        errors = sum(finding.severity == "error" for finding in outcome.report.findings)
        lines.append(
            f"{counted(errors, 'object')} not copied. Next: correct what `standfast backup verify "
            "--read` names, then copy again."
        )
    return lines
