"""`standfast backup copy` and `card`: second copy and recovery card."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.cli.terminal.units import size
from standfast.errors import ExitStatus
from standfast.plurals import counted

if TYPE_CHECKING:
    from backup.records import Progress
    from standfast.usecases.backups.replication import CopyOutcome


@command(
    "copy",
    exits={
        ExitStatus.DONE: "the copy has everything that the vault has",
        ExitStatus.FAILED: "one of the two stores does not answer",
        ExitStatus.USAGE: "no such copy is configured, or its place holds another repository",
        ExitStatus.DAMAGED: "an object is not what it should be: it was not copied",
    },
    example="standfast backup copy --to second-site",
)
@click.option("--to", required=True, metavar="NAME", help="As in [backup.copies.NAME].")
@click.option("--keys", is_flag=True, help="The domain keys, too; each needs a custodian to open.")
@click.pass_obj
def copy(call: Call, to: str, keys: bool) -> ExitStatus:
    """Copy new objects of the vault to a second site; needs no key."""
    from standfast.usecases.backups.replication import replicate_to_second_site
    from standfast.usecases.key_ceremonies.owner_operations import open_stores

    stores = open_stores(call.config_file, call.env)
    with call.progress() as tell:

        def shown(progress: "Progress") -> None:
            tell(f"copying to {to} (MiB)", progress.bytes_done >> 20, 0)

        outcome = replicate_to_second_site(stores, to, with_keys=keys, progress=shown)
    return call.say(outcome.as_json(), _copy_lines(outcome), outcome.exit_status)


@command(
    "card",
    exits={
        ExitStatus.DONE: "the card is shown or written; it holds no secret",
        ExitStatus.FAILED: "the store does not answer, or the file cannot be written",
        ExitStatus.USAGE: "there is no repository where the configuration says, or the file is "
        "another one",
        ExitStatus.DAMAGED: "a record is not what the owner or the keeper signed; it is named, "
        "and the card is made from the others",
    },
    example="standfast backup card --html card.html",
)
@click.option("--html", type=FilePath(), metavar="FILE", help="Write it as a page to print.")
@click.pass_obj
def card(call: Call, html: Path | None) -> ExitStatus:
    """Show the recovery card: vault, custodians and steps of a restore."""
    from backup.ownership.recovery_card import card_text
    from backup.ownership.recovery_card_page import card_page
    from standfast.reports.html_page import write_page
    from standfast.usecases.key_ceremonies.owner_operations import open_stores
    from standfast.usecases.key_ceremonies.recovery_card import card_json, recovery_card

    made = recovery_card(open_stores(call.config_file, call.env))
    problems: list[Line] = [f"error: {problem}" for problem in made.roster.problems]
    if problems:
        problems.append(
            "Next: do not go by this card, which may be an old one or lack something: `standfast "
            "backup verify` names what is wrong; mend that, and make the card again."
        )
    status = ExitStatus.DAMAGED if problems else ExitStatus.DONE
    document = {
        **card_json(made),
        "html": None if html is None else str(html),
        "exit_status": int(status),
    }
    if html is None:
        return call.say(document, [card_text(made).rstrip("\n"), *problems], status)
    write_page(card_page(made), html)
    lines: list[Line] = [f"{html} is the recovery card; no secret is on it."]
    lines += problems or [
        "Next: print it twice, and keep it in two places apart from the recovery identities."
    ]
    if not all(custodian.name for custodian in made.roster.custodians):
        lines.append(
            "First: name who has no name on it, so that at night it says whom to call: `standfast "
            "backup owner add-custodian` with their own key and --name."
        )
    if made.roster.lacks_documents:
        lines.append("First: `standfast backup owner publish`, so that the reader is in the vault.")
    return call.say(document, lines, status)


def _copy_lines(outcome: "CopyOutcome") -> list[Line]:
    rows = [
        [kind, f"{count.copied:,} copied", size(count.bytes), f"{count.already:,} there already"]
        for kind, count in outcome.report.counts.items()
        if count.copied or count.already
    ]
    lines: list[Line] = [Table(rows=rows)]
    for finding in outcome.report.findings:
        lines.append(f"{finding.severity}: {finding.object}: {finding.problem}")
        lines.append(f"  → {finding.what_to_do}")
    if not outcome.traits.is_write_only:
        lines.append(f"Not write-only there: {outcome.traits.why}.")
    if outcome.report.is_whole:
        lines.append(f"{outcome.name} has everything that the vault has.")
        if not outcome.has_keys:
            lines.append("Next: see that the domain keys are elsewhere, too; --keys copies them.")
    else:
        errors = sum(finding.severity == "error" for finding in outcome.report.findings)
        lines.append(
            f"{counted(errors, 'object')} not copied. Next: `standfast backup verify --read`, mend "
            "what it names, and copy again."
        )
    return lines
