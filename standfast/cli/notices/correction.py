"""`standfast notice correct`: a correction to the same recipients."""

from collections.abc import Sequence
from pathlib import Path

import click

from standfast.cli.incidents.incident_arguments import (
    PROGRESS_EXIT_STATUSES,
    incident_argument,
    resolve_incident,
)
from standfast.cli.incidents.incident_opening import no_wait_option
from standfast.cli.incidents.incident_progress import go_on
from standfast.cli.notices.staged_sending import STEP_METAVAR, step_argument
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import passphrase_file_option
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line
from standfast.cli.terminal.passphrase import signed_in
from standfast.errors import ExitStatus, UsageError
from standfast.plurals import counted
from standfast.records import Json


def values_of(given: Sequence[str]) -> dict[str, str]:
    """Parse the texts of --value."""
    values: dict[str, str] = {}
    for assignment in given:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise UsageError("a --value is of the form NAME=TEXT")
        values[name] = text
    return values


@command(
    "correct",
    exits={
        **PROGRESS_EXIT_STATUSES,
        ExitStatus.USAGE: "there is no such step or value, or nobody got the notice",
        ExitStatus.REFUSED: "some of the wrong notice may still leave, or it is corrected already",
    },
    example="standfast notice correct inc-2026-0001 tell_customers --value "
    "what_happened=not-concerned",
)
@incident_argument
@step_argument
@click.option("--value", multiple=True, metavar="NAME=TEXT", help="What was wrong, what is right.")
@click.option("--another", is_flag=True, help="Once more, although one was planned already.")
@click.option("--as", "as_person", metavar="PERSON", help="Who asks for it, signed in.")
@no_wait_option
@passphrase_file_option
@click.pass_obj
def correct(
    call: Call,
    incident: str | None,
    step: str | None,
    value: tuple[str, ...],
    another: bool,
    as_person: str | None,
    no_wait: bool,
    passphrase_file: Path | None,
) -> ExitStatus:
    """Send a correction to everybody that may have received a notice.

    Its approvers are asked immediately. It is sent after the approval.
    """
    from standfast.usecases.notice_follow_up.corrections import correct as plan_correction

    values = values_of(value)
    with call.installation() as installation:
        incident_id, (wrong,) = resolve_incident(
            installation, incident, step, least=1, most=1, takes=STEP_METAVAR
        )
        by = signed_in(call, installation, as_person, passphrase_file)
        planned = plan_correction(
            installation, incident_id, wrong, values, requested_by=by, is_another=another
        )
        people = counted(planned.recipients, "person", "people")
        needs = f"it needs {counted(planned.needs_approvals, 'approval')}"
        details: dict[str, Json] = {
            "correction": {
                "step": planned.step,
                "corrects": wrong,
                "recipients": planned.recipients,
                "refused": planned.refused,
                "needs_approvals": planned.needs_approvals,
                "warnings": [*planned.warnings],
            }
        }
        before: list[Line] = [
            f"{planned.step} is planned: to the {people} who got `{wrong}`; {needs}.",
            *(f"Warning: {warning}." for warning in planned.warnings),
        ]
        return go_on(
            call, installation, incident_id, no_wait=no_wait, details=details, before=before
        )
