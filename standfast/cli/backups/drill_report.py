"""`standfast drill report`: the signed page of one drill.

The RTO of a service is the longest acceptable time until it works again; the RPO is the longest
acceptable time between the newest restored change and the failure.
"""

from pathlib import Path

import click

from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.errors import ExitStatus


@command(
    "report",
    exits={
        ExitStatus.DONE: "the page is written",
        ExitStatus.FAILED: "the page cannot be written there",
        ExitStatus.USAGE: "there is no such drill, or the file exists and is of another kind",
        ExitStatus.DAMAGED: "a report is missing or was changed",
    },
    example="standfast drill report crm --to crm.html",
)
@click.argument(
    "name",
    metavar="[SET|SERVICE|RUN]",
    required=False,
    help="The newest drill of a set or service, or one run. Default: the newest drill.",
)
@click.option(
    "--to",
    type=FilePath(),
    metavar="FILE",
    help="The file to write; by default drill-NAME.html in this folder.",
)
@click.pass_obj
def write_report(call: Call, name: str | None, to: Path | None) -> ExitStatus:
    """Write the signed HTML page of a drill.

    The page shows the milestones, RTO and RPO over time, gaps (what the recovery lacked) with owner
    and due date, skipped checks, and the clauses of standards that the drill supports.
    `standfast-verify FILE` checks the page on any machine.
    """
    from standfast.usecases.reports.recovery_reports import write_drill_report

    out = (to or Path(f"drill-{name or 'newest'}.html")).absolute()
    with call.installation() as installation:
        written = write_drill_report(installation, name, out)
    return call.print_result(
        written.as_json(), [f"Written: {written.page}", f"Report: {written.report}"]
    )
