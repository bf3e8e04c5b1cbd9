"""`standfast incident undo`: restore the prior state of targets."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.cli.incidents.incident_arguments import (
    PROGRESS_EXIT_STATUSES,
    incident_argument,
    resolve_incident,
)
from standfast.cli.incidents.incident_opening import no_wait_option
from standfast.cli.incidents.incident_progress import go_on, print_outcome
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import passphrase_file_option
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line
from standfast.cli.terminal.passphrase import signed_in
from standfast.errors import ExitStatus, UsageError
from standfast.plurals import counted
from standfast.records import Json, StepState

if TYPE_CHECKING:
    from standfast.usecases.incidents.effect_undo import UndoPlan

_OF_A_PLAN: dict[StepState | None, ExitStatus] = {  # as the undo itself would end, but for people
    None: ExitStatus.DONE,
    StepState.PARTIAL: ExitStatus.PARTIAL,
    StepState.FAILED: ExitStatus.FAILED,
}


@command(
    "undo",
    exits=PROGRESS_EXIT_STATUSES,
    example="standfast incident undo --target agents:alice --as dana",
)
@incident_argument
@click.option("--step", help="What this step did.")
@click.option("--target", multiple=True, metavar="ACCOUNT", help="One account; may be given again.")
@click.option("--all", "everything", is_flag=True, help="All that was done.")
@click.option(
    "--plan", "only_plan", is_flag=True, help="Show what would be given back; nothing changes."
)
@click.option(
    "--as",
    "as_person",
    metavar="PERSON",
    help="Who asks, signed in, and has a role; who opened it spares one approval.",
)
@no_wait_option
@passphrase_file_option
@click.pass_obj
def undo(
    call: Call,
    incident: str | None,
    step: str | None,
    target: tuple[str, ...],
    everything: bool,
    only_plan: bool,
    as_person: str | None,
    no_wait: bool,
    passphrase_file: Path | None,
) -> ExitStatus:
    """Unlock accounts: restore the state before the incident.

    A live incident needs --as, and the approval of another person. Give accounts with --target, a
    step with --step, or --all. --plan shows what would be restored.
    """
    from standfast.usecases.incidents.effect_undo import plan_undo
    from standfast.usecases.incidents.effect_undo import undo as start_undo
    from standfast.usecases.incidents.lifecycle import look

    if not (step or target or everything):
        raise UsageError("say what is given back: --target ACCOUNT, --step STEP, or --all")
    with call.installation() as installation:
        incident_id, _ = resolve_incident(installation, incident)
        requested_by = signed_in(call, installation, as_person, passphrase_file)
        do = plan_undo if only_plan else start_undo
        planned = do(
            installation, incident_id, step=step, targets=target, requested_by=requested_by
        )
        details: dict[str, Json] = {"undo": planned.as_json()}
        before = _undo_lines(planned)
        if only_plan:
            status = _OF_A_PLAN[planned.keeps]
            document: dict[str, Json] = {
                "incident": incident_id, **details, "exit_status": int(status)
            }  # fmt: skip
            call.say(document, [*before, "Nothing was changed."])
            return status
        if planned.keeps is StepState.FAILED:
            # There is no step that would say so: what comes next is not that all is done.
            outcome = look(installation, incident_id)
            outcome = replace(
                outcome,
                state=replace(outcome.state, kept=len(planned.kept)),
                undo_came_to=planned.keeps,
            )
            return print_outcome(call, installation, outcome, details=details, before=before)
        return go_on(
            call,
            installation,
            incident_id,
            no_wait=no_wait,
            details=details,
            before=before,
            undo_came_to=planned.keeps,
        )


def _undo_lines(planned: "UndoPlan") -> list[Line]:
    where = ", ".join(f"{count} through {name}" for name, count in planned.where.items())
    through = f" ({where})" if where else ""
    lines: list[Line] = [
        f"{counted(planned.restores, 'target')} to restore{through}, {len(planned.kept)} kept.",
    ]
    if not (planned.restores or planned.kept):
        lines = ["Nothing to restore: nothing was locked, or all of it is restored already."]
    lines += [f"  {count} kept: {reason}" for reason, count in Counter(planned.kept).items()]
    lines += [f"  not restored: {change}" for change in planned.stays]
    if planned.needs_approvals and not planned.unproven:
        lines.append(f"{planned.needs_approvals} must approve that they are given back.")
    elif planned.needs_approvals:
        lines.append(
            f"The lock of {planned.unproven} of them was not proven: the undo needs "
            f"{counted(planned.needs_approvals, 'approval')}."
        )
    return lines
