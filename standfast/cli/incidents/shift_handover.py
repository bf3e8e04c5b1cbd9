"""`standfast incident handover` and `after-action`: HTML pages."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.cli.incidents.incident_arguments import incident_argument, open_incident
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.errors import ExitStatus
from standfast.plurals import counted

if TYPE_CHECKING:
    from standfast.reports.handover_pages import Unknown

_PAGE_EXIT_STATUSES = {
    ExitStatus.DONE: "the page is written",
    ExitStatus.FAILED: "the page cannot be written there",
    ExitStatus.USAGE: "there is no such incident, or the file exists and is of another kind",
}
to_option = click.option(
    "--to",
    type=FilePath(),
    metavar="FILE",
    help="The file to write; by default in this folder, named after the incident.",
)


@command(
    "handover",
    exits=_PAGE_EXIT_STATUSES,
    example="standfast incident handover inc-2026-0001 --to handover.html",
)
@incident_argument
@to_option
@click.pass_obj
def handover(call: Call, incident: str | None, to: Path | None) -> ExitStatus:
    """Write the page for the person that takes over.

    The page lists open steps and who must act, running legal time limits, unknown outcomes and all
    decisions. It can be printed.
    """
    from standfast.usecases.reports import shift_handover

    with open_incident(call, incident) as (installation, incident_id, _):
        page = shift_handover.hand_over(installation, incident_id)
    file = (to or Path(f"{incident_id}-handover.html")).absolute()
    out = shift_handover.write_handover(page, file)
    lines = [
        f"Written: {out}",
        f"Open steps: {', '.join(step.step for step in page.open_steps) or 'none'}.",
        *_unknown_lines(incident_id, page.unknowns),
        f"Next: {page.report.next_step}",
    ]
    return call.print_result({**page.as_json(), "page": str(out)}, lines)


def _unknown_lines(incident_id: str, unknowns: "Sequence[Unknown]") -> list[str]:
    """Return one line for each step and reason with unknown outcomes.

    An outcome is unknown if nobody could observe whether an act happened.
    """
    lines = []
    for (step, is_message, reason), number in Counter(
        (unknown.step, unknown.is_message, unknown.reason) for unknown in unknowns
    ).items():
        noun, happened = ("message", "arrived") if is_message else ("act", "happened")
        lines.append(
            f"{counted(number, noun)} may or may not have {happened} ({step}): {reason}. By name: "
            f"`standfast incident status {incident_id} --targets`"
        )
    return lines


@command(
    "after-action",
    exits=_PAGE_EXIT_STATUSES,
    example="standfast incident after-action inc-2026-0001 --to review.html",
)
@incident_argument
@to_option
@click.pass_obj
def after_action(call: Call, incident: str | None, to: Path | None) -> ExitStatus:
    """Write the draft of the after-action review.

    The draft contains the facts that were recorded in the incident, and the questions that only
    people can answer.
    """
    from standfast.usecases.reports import shift_handover

    with open_incident(call, incident) as (installation, incident_id, _):
        draft = shift_handover.after_action(installation, incident_id)
    file = (to or Path(f"{incident_id}-after-action.html")).absolute()
    out = shift_handover.write_after_action(draft, file)
    lines = [f"Written: {out}", *(["Deviations from the plan:"] if draft.otherwise else [])]
    lines += [f"  - {line}" for line in draft.otherwise]
    return call.print_result({**draft.as_json(), "page": str(out)}, lines)
