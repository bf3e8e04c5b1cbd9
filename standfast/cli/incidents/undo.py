"""`standfast incident undo`: restore the former state of targets.

A target is, for example, an account that the incident locked.
"""

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from standfast.cli.incidents.incident_arguments import (
    PROGRESS_EXIT_STATUSES,
    incident_argument,
    open_incident,
)
from standfast.cli.incidents.incident_progress import print_outcome, run_and_print
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import no_wait_option, sign_in_options
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line
from standfast.cli.terminal.passphrase import signed_in
from standfast.errors import ExitStatus, UsageError
from standfast.plurals import counted
from standfast.records import StepState

if TYPE_CHECKING:
    from standfast.usecases.incidents.effect_undo import UndoPlan

_PLAN_STATUS: dict[StepState | None, ExitStatus] = {  # the exit status of the planned undo
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
@click.option("--step", help="Undo the effects of this step.")
@click.option("--target", multiple=True, metavar="ACCOUNT", help="Undo one account; repeatable.")
@click.option("--all", "everything", is_flag=True, help="Undo every effect of the incident.")
@click.option("--plan", "only_plan", is_flag=True, help="Only show what would be restored.")
@sign_in_options(
    "Sign in as this person, who needs a role. One approval fewer is needed if this person "
    "opened the incident."
)
@no_wait_option
@click.pass_obj
def undo(
    call: Call,
    incident: str | None,
    step: str | None,
    target: tuple[str, ...],
    everything: bool,
    only_plan: bool,
) -> ExitStatus:
    """Unlock accounts: restore the state before the incident.

    A live incident needs --as, and the approval of another person. Name accounts with --target, a
    step with --step, or --all. --plan shows what would be restored.
    """
    from standfast.usecases.incidents import effect_undo
    from standfast.usecases.incidents.lifecycle import look

    if not (step or target or everything):
        raise UsageError("undo: no target is named. Add --target ACCOUNT, --step STEP, or --all")
    with open_incident(call, incident) as (installation, incident_id, _):
        do = effect_undo.plan_undo if only_plan else effect_undo.undo
        requested_by = signed_in(call, installation)
        planned = do(
            installation, incident_id, step=step, targets=target, requested_by=requested_by
        )
        details = {"undo": planned.as_json()}
        before = _undo_lines(planned)
        if only_plan:
            return call.print_result(
                {"incident": incident_id, **details},
                [*before, "Nothing was changed."],
                _PLAN_STATUS[planned.kept_result],
            )
        if planned.kept_result is StepState.FAILED:
            # No undo step exists that could report the failure, so add it to the outcome: else the
            # printed next step would say that everything is done.
            outcome = look(installation, incident_id)
            outcome = replace(
                outcome,
                state=replace(outcome.state, unrestored_count=len(planned.kept)),
                undo_result=planned.kept_result,
            )
            return print_outcome(call, installation, outcome, details, before)
        return run_and_print(
            call, installation, incident_id, details, before, undo_result=planned.kept_result
        )


def _undo_lines(planned: "UndoPlan") -> list[Line]:
    where = ", ".join(f"{name}: {count}" for name, count in planned.where.items())
    through = f" ({where})" if where else ""
    lines: list[Line] = [
        (
            f"{counted(planned.restores, 'target')} to restore{through}, {len(planned.kept)} left "
            "unchanged."
        )
    ]
    if not (planned.restores or planned.kept):
        lines = ["Nothing to restore: nothing was locked, or everything is already restored."]
    lines += [
        f"  {count} left unchanged: {reason}" for reason, count in Counter(planned.kept).items()
    ]
    lines += [f"  limit of the undo: {change}" for change in planned.stays]
    if planned.needs_approvals:
        why = f": the lock of {planned.unproven} was not proven" if planned.unproven else ""
        lines.append(f"The undo needs {counted(planned.needs_approvals, 'approval')}{why}.")
    return lines
