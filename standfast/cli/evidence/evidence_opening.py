"""`standfast evidence open`: write one item for a person with a reason."""

from pathlib import Path

import click

from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath, sign_in_options
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.passphrase import signed_in
from standfast.cli.terminal.units import format_size
from standfast.errors import ExitStatus


@command(
    "open",
    exits={
        ExitStatus.DONE: "the file is written, and the opening recorded",
        ExitStatus.FAILED: "the file cannot be written",
        ExitStatus.USAGE: "there is no such item, or the identity cannot be read",
        ExitStatus.REFUSED: "no person with a role signed in, or the identity opens nothing",
        ExitStatus.DAMAGED: "the item is not what was sealed; nothing is written",
    },
    example="standfast evidence open inc-2026-0001 /var/log/auth.log --reason 'case 4711' "
    "--identity custodian.key --into opened --as dana",
)
@click.argument("incident", help="The incident.")
@click.argument("item", help="The path of the file, as it was collected.")
@click.option("--reason", required=True, help="The reason, without names; it is recorded.")
@click.option(
    "--into", type=FilePath(), required=True, metavar="DIR", help="The folder of the new file."
)
@click.option(
    "--identity",
    type=FilePath(),
    metavar="FILE",
    help="The age identity or SSH key of a custodian, if the evidence is encrypted.",
)
@sign_in_options("Sign in as this person, who has a role; required.")
@click.pass_obj
def open_item(
    call: Call, incident: str, item: str, reason: str, into: Path, identity: Path | None
) -> ExitStatus:
    """Open one file of the evidence, and record the person and the reason.

    The chain of custody and the timeline record the intent before anything is read, and the result
    afterwards. If several folders have the file, write SOURCE/TOKEN before its path.
    """
    from standfast.usecases.evidence.item_opening import open_evidence

    with call.installation() as installation:
        opened = open_evidence(
            installation,
            incident,
            item,
            into.absolute(),
            reason=reason,
            by=signed_in(call, installation),
            identity=identity,
        )
    size = format_size(opened.item.size_bytes)
    return call.print_result(
        {"incident": incident, **opened.as_json()},
        [f"{opened.file}: {size} IN CLEAR; the opening is recorded."],
    )
