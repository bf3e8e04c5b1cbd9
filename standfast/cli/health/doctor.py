"""`standfast doctor`: a file about this installation, for support."""

from pathlib import Path

import click

from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line
from standfast.errors import ExitStatus


@command(
    "doctor",
    exits={
        ExitStatus.DONE: "the file is written, even if the installation is broken",
        ExitStatus.FAILED: "the file exists or cannot be written",
    },
    example="standfast doctor --to support.json",
    needs_ledger=False,
)
@click.option(
    "--to", type=FilePath(), required=True, metavar="FILE", help="A new file for the bundle."
)
@click.option(
    "--log",
    type=FilePath(),
    metavar="FILE",
    help="A log of `standfast serve` in JSON; its events are added to the bundle.",
)
@click.pass_obj
def doctor(call: Call, to: Path, log: Path | None) -> ExitStatus:
    """Write a support bundle without secrets and personal data.

    The bundle contains versions, the structure of the configuration, the results of `standfast
    check`, counts of the rows in the database, and the newest failed runs. Read it before you send
    it: it contains the names of sections, backup sets and services.
    """
    from standfast.usecases.health.support_bundle import support_bundle, write_support_bundle

    with call.progress() as show_progress:
        bundle = support_bundle(
            call.config_file,
            env=call.env,
            log=log,
            progress=lambda done, total: show_progress("trying each part", done, total),
        )
    write_support_bundle(bundle, to)
    problems = [
        f"{part.partition('_')[0]}: {bundle[part]}"
        for part in ("configuration_problem", "ledger_problem")
        if part in bundle
    ]
    lines: list[Line] = [*problems, f"Written: {to}. Read it before you send it."]
    return call.print_result(
        {"bundle": str(to), "parts": list(bundle), "problems": list(problems)}, lines
    )
