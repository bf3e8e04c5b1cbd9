"""`standfast notice correct`: a correction to the same recipients."""

import click

from standfast.cli.incidents.incident_arguments import (
    PROGRESS_EXIT_STATUSES,
    incident_argument,
    open_incident,
)
from standfast.cli.incidents.incident_progress import run_and_print
from standfast.cli.notices.staged_sending import STEP_METAVAR, step_argument
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import no_wait_option, parse_values, sign_in_options
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line
from standfast.cli.terminal.passphrase import signed_in
from standfast.errors import ExitStatus
from standfast.plurals import counted
from standfast.records import Json


@command(
    "correct",
    exits={
        **PROGRESS_EXIT_STATUSES,
        ExitStatus.USAGE: "there is no such step or value, or nobody received the notice",
        ExitStatus.REFUSED: "messages of the wrong notice may still be sent, or it is already "
        "corrected",
    },
    example="standfast notice correct inc-2026-0001 tell_customers --value "
    "what_happened=not-concerned",
)
@incident_argument
@step_argument
@click.option(
    "--value", multiple=True, metavar="NAME=TEXT", help="The correct text of a value; repeatable."
)
@click.option("--another", is_flag=True, help="Plan a further correction of the same notice.")
@sign_in_options("Sign in as this person.")
@no_wait_option
@click.pass_obj
def correct(
    call: Call, incident: str | None, step: str | None, value: tuple[str, ...], another: bool
) -> ExitStatus:
    """Send a correction to everybody that may have received a notice.

    The approvers are asked immediately. The correction is sent after the approval.
    """
    from standfast.usecases.notice_follow_up import corrections

    values = parse_values(value)
    with open_incident(call, incident, step, takes=STEP_METAVAR) as (
        installation,
        incident_id,
        (wrong,),
    ):
        by = signed_in(call, installation)
        planned = corrections.correct(
            installation, incident_id, wrong, values, requested_by=by, is_another=another
        )
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
        people = counted(planned.recipients, "recipient")
        needs = counted(planned.needs_approvals, "approval")
        before: list[Line] = [
            f"{planned.step} is planned for {people} of `{wrong}`; it needs {needs}.",
            *(f"Warning: {warning}." for warning in planned.warnings),
        ]
        return run_and_print(call, installation, incident_id, details, before)
