"""`standfast manual`: write the manual pages."""

from pathlib import Path

import click

from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import PROGRAM, Call
from standfast.errors import ExitStatus


@command(
    "manual",
    exits={
        ExitStatus.DONE: "the pages are written",
        ExitStatus.FAILED: "the folder cannot be written",
    },
    example="standfast manual --to ~/.local/share/man/man1",
    needs_ledger=False,
)
@click.option(
    "--to",
    type=FilePath(),
    required=True,
    metavar="DIR",
    help="The folder, such as ~/.local/share/man/man1.",
)
@click.pass_context
def manual(context: click.Context, to: Path) -> ExitStatus:
    """Write a manual page for each command.

    Then `man standfast` lists the commands, and `man standfast-backup-run` explains one. Pages of
    an earlier release are replaced.
    """
    from standfast.cli.parsing.manual_page import manual_pages

    to.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in manual_pages(context.find_root().command, PROGRAM):
        (to / f"{name}.1").write_text(text, encoding="utf-8")
        written.append(name)
    call: Call = context.obj
    return call.print_result(
        {"to": str(to), "pages": written}, [f"{len(written)} manual pages written to {to}."]
    )
