"""`standfast incident`: `plan`, `open`, `list`, `status`; the group."""

from pathlib import Path

import click

from standfast.cli.incidents.acknowledgement import acknowledge
from standfast.cli.incidents.affected_people import affected
from standfast.cli.incidents.closure import close, reopen
from standfast.cli.incidents.event_text import event_cells, event_json
from standfast.cli.incidents.incident_arguments import (
    PROGRESS_EXIT_STATUSES,
    incident_argument,
    open_incident,
    parse_inputs,
)
from standfast.cli.incidents.incident_growth import add
from standfast.cli.incidents.incident_note import note
from standfast.cli.incidents.incident_opening import (
    exercise_option,
    open_and_run_incident,
    opener_options,
)
from standfast.cli.incidents.incident_progress import print_outcome
from standfast.cli.incidents.plan_promotion import carry_out
from standfast.cli.incidents.shift_handover import after_action, handover
from standfast.cli.incidents.step_decisions import accept, answer, approve, retry, settle
from standfast.cli.incidents.stop_and_resume import resume, stop
from standfast.cli.incidents.undo import undo
from standfast.cli.parsing.commands import Group, command
from standfast.cli.parsing.parameters import FilePath, no_wait_option, stored_option
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.errors import ExitStatus
from standfast.local_time import minute
from standfast.records import Json, Proof, timestamp

playbook_argument = click.argument(
    "scenario", metavar="PLAYBOOK", help="A name from `standfast playbook list`."
)
inputs_option = click.option(
    "--input",
    "-i",
    "given",
    multiple=True,
    metavar="NAME=VALUE",
    help="An input of the playbook; NAME=@FILE reads one value a line from a file.",
)


@command(
    "plan",
    exits={
        ExitStatus.DONE: "every step can run",
        ExitStatus.USAGE: "an input is missing, or the playbook names something that is not "
        "configured",
        ExitStatus.PARTIAL: "some targets would be refused; each reason is counted",
        ExitStatus.REFUSED: "a step cannot run at all",
    },
    example="standfast incident plan account-takeover --input accounts=@accounts.txt",
)
@playbook_argument
@inputs_option
@stored_option(
    "--as", "as_person", metavar="PERSON", help="Plan as if this person opened the incident."
)
@click.pass_obj
def plan(call: Call, scenario: str, given: tuple[str, ...]) -> ExitStatus:
    """Show what an incident would do.

    The command reads all targets and changes nothing. It shows each step with its targets,
    refusals, the steps that cannot be undone, and the approvals that it needs.
    """
    from standfast.usecases.incidents.plan import as_lines, plan_incident

    with call.installation() as installation, call.progress() as show_progress:
        if call.as_person is not None:
            installation.ledger.people.get(call.as_person)  # reports a typing error now
        report = plan_incident(
            installation,
            scenario,
            parse_inputs(given),
            is_signed=call.as_person is not None,
            opened_by=call.as_person,
            progress=lambda done, total: show_progress("planning each step", done, total),
        )
    stuck = [step.name for step in report.steps if step.impossible]
    next_step = f"Next: `standfast incident open {scenario}` with the same inputs."
    if stuck:
        next_step = (
            f"Next: correct the cause shown at {', '.join(stuck)}. If you run `standfast incident "
            f"open {scenario}` before the correction, these steps fail and the other steps run. "
            "To lock accounts only: `standfast lock ACCOUNT…`."
        )
    return call.print_result(report.as_json(), [*as_lines(report), next_step], report.exit_status)


@command(
    "open",
    exits={**PROGRESS_EXIT_STATUSES, ExitStatus.USAGE: "an input is missing or not valid"},
    example="standfast incident open account-takeover -i accounts=alice,bob --as dana",
)
@playbook_argument
@inputs_option
@click.option(
    "--affected",
    "affected_csv",
    type=FilePath(),
    metavar="FILE",
    help="A CSV file of the affected people, as for `incident affected add --csv`.",
)
@exercise_option
@opener_options
@no_wait_option
@click.pass_obj
def open_(
    call: Call, scenario: str, given: tuple[str, ...], affected_csv: Path | None, exercise: bool
) -> ExitStatus:
    """Open an incident and run its steps.

    The command ends when the incident is done or a step waits for a person.
    """
    return open_and_run_incident(
        call, scenario, parse_inputs(given), is_exercise=exercise, affected_csv=affected_csv
    )


@command(
    "list",
    exits={ExitStatus.DONE: "the incidents are listed; there may be none"},
    example="standfast incident list --open",
)
@click.option("--open", "open_only", is_flag=True, help="List open incidents only.")
@click.pass_obj
def list_incidents(call: Call, open_only: bool) -> ExitStatus:
    """List the incidents, oldest first."""
    with call.installation() as installation:
        found = installation.ledger.incidents.all(only_open=open_only)
        zone = installation.config.organisation.time_zone
    document: list[Json] = [
        {
            "incident": row.id,
            "scenario": row.scenario,
            "mode": row.mode.value,
            "state": row.state,
            "is_stopped": row.is_stopped,
            "opened_at": timestamp(row.opened_at),
            "opened_by": row.opened_by,
            "closed_at": timestamp(row.closed_at) if row.closed_at else None,
        }
        for row in found
    ]
    rows = [
        [
            row.id,
            row.scenario,
            row.mode.value,
            "stopped" if row.is_open and row.is_stopped else row.state,
            minute(row.opened_at, zone),
            row.opened_by,
        ]
        for row in found
    ]
    headings = ("incident", "playbook", "mode", "state", "opened", "by")
    lines: list[Line] = [Table(headings=headings, rows=rows)] if rows else ["No incidents."]
    return call.print_result({"incidents": document}, lines)


@command(
    "status",
    exits=PROGRESS_EXIT_STATUSES,
    example="standfast incident status inc-2026-0001 --targets",
)
@incident_argument
@click.option(
    "--targets", is_flag=True, help="Show every target and input by name; the view is recorded."
)
@click.option("--timeline", is_flag=True, help="Show the events in order.")
@click.pass_obj
def status(call: Call, incident: str | None, targets: bool, timeline: bool) -> ExitStatus:
    """Show the state of an incident and its next step."""
    from standfast.usecases.incidents import result_summary
    from standfast.usecases.incidents.lifecycle import look

    with open_incident(call, incident) as (installation, incident_id, _):
        details: dict[str, Json] = {}
        before: list[Line] = []
        if targets:
            rows = result_summary.targets(installation, incident_id)
            details["targets"] = [
                {
                    "effect": row.token,
                    "step": row.step,
                    "round": row.round,
                    "verb": row.verb,
                    "target": row.target,
                    "state": row.state.value,
                    "proof": row.proof.value,
                    "reason": row.reason,
                }
                for row in rows
            ]
            cells = [
                [
                    *(row.token[:8], row.step, row.state.value, _one_line(row.target)),
                    row.reason or (row.proof is not Proof.NONE and row.proof.words) or "",
                ]
                for row in rows
            ]
            inputs = installation.ledger.incidents.state(incident_id).inputs
            details["inputs"] = dict(inputs)
            given = [[name, _shown(value)] for name, value in inputs.items() if value is not None]
            if given:
                before += ["Inputs:", Table(rows=given, indent=2), ""]
            if cells:
                headings = ("effect", "step", "state", "target", "reason")
                before += [Table(headings=headings, rows=cells), ""]
        if timeline:
            events = installation.ledger.timeline(incident_id)
            zone = installation.config.organisation.time_zone
            details["timeline"] = [event_json(event) for event in events]
            before += [Table(rows=[event_cells(event, zone) for event in events]), ""]
        outcome = look(installation, incident_id)
        return print_outcome(call, installation, outcome, details, before)


def _one_line(target: str) -> str:
    return target.replace("\n", ", ")  # a postal address has several lines


def _shown(value: Json) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


incident = Group(
    "incident",
    help="Plan, open, approve, watch, note, undo and close incidents.",
    commands=[
        plan,
        open_,
        list_incidents,
        status,
        approve,
        answer,
        accept,
        settle,
        retry,
        resume,
        undo,
        acknowledge,
        stop,
        close,
        reopen,
        handover,
        after_action,
        carry_out,
        add,
        note,
        affected,
    ],
)
