"""`standfast incident handover` and `after-action`: pages for people."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.cli.incidents.incident_arguments import incident_argument, resolve_incident
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.errors import ExitStatus
from standfast.plurals import counted

if TYPE_CHECKING:
    from standfast.reports.handover_pages import Unknown

_WRITTEN = {
    ExitStatus.DONE: "the page is written",
    ExitStatus.FAILED: "the page cannot be written there",
    ExitStatus.USAGE: "there is no such incident, or another file is there",
}
to_option = click.option(
    "--to",
    type=FilePath(),
    metavar="FILE",
    help="Where to; a file named like the incident here without.",
)


@command(
    "handover",
    exits=_WRITTEN,
    example="standfast incident handover inc-2026-0001 --to handover.html",
)
@incident_argument
@to_option
@click.pass_obj
def handover(call: Call, incident: str | None, to: Path | None) -> ExitStatus:
    """Write the page for the person that takes over.

    The page lists open steps and who must act, running clocks, unknown outcomes and all decisions.
    It can be printed.
    """
    from standfast.usecases.reports.shift_handover import hand_over, write_handover

    with call.installation() as installation:
        incident_id, _ = resolve_incident(installation, incident)
        handed = hand_over(installation, incident_id)
    out = write_handover(handed, (to or Path(f"{incident_id}-handover.html")).absolute())
    lines = [
        f"The page is written: {out}",
        f"Open: {', '.join(step.step for step in handed.open_steps) or 'nothing'}.",
        *_unknown_lines(incident_id, handed.unknowns),
        f"Next: {handed.report.next_step}",
    ]
    call.say({**handed.as_json(), "page": str(out)}, [*lines])
    return ExitStatus.DONE


def _unknown_lines(incident_id: str, unknowns: "Sequence[Unknown]") -> list[str]:
    """Return one line for each reason, with its number of acts."""
    lines = []
    for (step, is_message, reason), number in Counter(
        (unknown.step, unknown.is_message, unknown.reason) for unknown in unknowns
    ).items():
        noun, happened = ("message", "arrived") if is_message else ("act", "happened")
        lines.append(
            f"{counted(number, noun)} may or may not have {happened} ({step}): {reason}. Each by "
            f"name: `standfast incident status {incident_id} --targets`"
        )
    return lines


@command(
    "after-action",
    exits=_WRITTEN,
    example="standfast incident after-action inc-2026-0001 --to review.html",
)
@incident_argument
@to_option
@click.pass_obj
def after_action(call: Call, incident: str | None, to: Path | None) -> ExitStatus:
    """Write the draft of the after-action review.

    The draft contains the facts that the ledger recorded, and the questions that only people can
    answer.
    """
    from standfast.usecases.reports.shift_handover import after_action as drafted
    from standfast.usecases.reports.shift_handover import write_after_action

    with call.installation() as installation:
        incident_id, _ = resolve_incident(installation, incident)
        draft = drafted(installation, incident_id)
    out = write_after_action(draft, (to or Path(f"{incident_id}-after-action.html")).absolute())
    call.say(
        {**draft.as_json(), "page": str(out)},
        [
            f"The draft is written: {out}",
            *(["What did not go as planned:"] if draft.otherwise else []),
            *(f"  - {line}" for line in draft.otherwise),
        ],
    )
    return ExitStatus.DONE
