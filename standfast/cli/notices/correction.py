"""`standfast notice correct`: to those who got a wrong notice, and to nobody else."""

from collections.abc import Sequence
from typing import Annotated

from standfast.cli.incidents.incident_arguments import (
    PROGRESS_EXIT_STATUSES,
    IncidentArgument,
    resolve_incident,
)
from standfast.cli.incidents.incident_opening import NoWait
from standfast.cli.incidents.incident_progress import go_on
from standfast.cli.notices.staged_sending import STEP_METAVAR, StepArgument
from standfast.cli.parsing.command_declaration import Group, Option, command
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line
from standfast.cli.terminal.passphrase import PassphraseFile, signed_in
from standfast.errors import ExitStatus, UsageError
from standfast.plurals import counted
from standfast.records import Json


def add_to(notice: Group) -> None:
    """Add the command to the group of notices."""
    command(
        notice,
        "correct",
        exits={
            **PROGRESS_EXIT_STATUSES,
            ExitStatus.USAGE: "there is no such step or value, or nobody got the notice",
            ExitStatus.REFUSED: "some of the wrong notice may still leave, or it is corrected "
            "already",
        },
        example="standfast notice correct inc-2026-0001 tell_customers --value "
        "what_happened=not-concerned",
    )(correct)


def values_of(given: Sequence[str] | None) -> dict[str, str]:
    """Read what was given as --value."""
    values: dict[str, str] = {}
    for one in given or ():
        name, equals, text = one.partition("=")
        if not equals or not name:
            raise UsageError("a --value is of the form NAME=TEXT")
        values[name] = text
    return values


def correct(
    call: Call,
    incident: IncidentArgument = None,
    step: StepArgument = None,
    value: Annotated[
        list[str] | None, Option(metavar="NAME=TEXT", help="What was wrong, what is right.")
    ] = None,
    another: Annotated[
        bool, Option("--another", help="Once more, although one was planned already.")
    ] = False,
    as_person: Annotated[
        str | None, Option("--as", metavar="PERSON", help="Who asks for it, signed in.")
    ] = None,
    no_wait: NoWait = False,
    passphrase_file: PassphraseFile = None,
) -> ExitStatus:
    """Correct a notice, to exactly those who got it, or may have.

    Whoever is to approve it is asked at once; it leaves once it is approved.
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
        told: dict[str, Json] = {
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
        return go_on(call, installation, incident_id, no_wait=no_wait, told=told, before=before)
