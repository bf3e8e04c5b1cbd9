"""`standfast incident`: plan, open, approve, watch, undo and close."""

from pathlib import Path

import click

from standfast.cli.incidents.closure import close, reopen
from standfast.cli.incidents.incident_arguments import (
    PROGRESS_EXIT_STATUSES,
    incident_argument,
    inputs_of,
    resolve_incident,
)
from standfast.cli.incidents.incident_opening import (
    as_person_option,
    exercise_option,
    no_wait_option,
    open_and_run_incident,
)
from standfast.cli.incidents.incident_progress import print_outcome
from standfast.cli.incidents.plan_promotion import carry_out
from standfast.cli.incidents.shift_handover import after_action, handover
from standfast.cli.incidents.step_decisions import accept, answer, approve, retry, settle
from standfast.cli.incidents.stop_and_resume import resume, stop
from standfast.cli.incidents.undo import undo
from standfast.cli.parsing.commands import Group, command
from standfast.cli.parsing.parameters import passphrase_file_option
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.errors import ExitStatus
from standfast.local_time import minute, second
from standfast.records import Json, timestamp

inputs_option = click.option(
    "--input",
    "-i",
    "given",
    multiple=True,
    metavar="NAME=VALUE",
    help="An input of the playbook; NAME=@FILE reads it from a file, one a line.",
)


@command(
    "plan",
    exits={
        ExitStatus.DONE: "everything that is asked for can be carried out",
        ExitStatus.USAGE: "an input is missing, or the playbook names what is not here",
        ExitStatus.PARTIAL: "some targets would be refused; each reason is counted",
        ExitStatus.REFUSED: "a step cannot be carried out at all as things are",
    },
    example="standfast incident plan account-takeover --input accounts=@accounts.txt",
)
@click.argument("scenario", metavar="PLAYBOOK", help="`standfast playbook list` names them.")
@inputs_option
@as_person_option
@click.pass_obj
def plan(call: Call, scenario: str, given: tuple[str, ...], as_person: str | None) -> ExitStatus:
    """Show what an incident would do.

    Reads all targets and changes nothing. Shows each step with its targets, refusals, the steps
    that cannot be undone, and the approvals that it needs.
    """
    from standfast.usecases.incidents.plan import as_lines, plan_incident

    with call.installation() as installation, call.progress() as tell:
        if as_person is not None:
            installation.ledger.people.get(
                as_person
            )  # signs in to open it; a typing error shows now
        report = plan_incident(
            installation,
            scenario,
            inputs_of(given),
            is_signed=as_person is not None,
            opened_by=as_person,
            progress=lambda done, total: tell("planning each step", done, total),
        )
    status = report.exit_status
    lines: list[Line] = [*as_lines(report)]
    stuck = [step.name for step in report.steps if step.impossible]
    if stuck:
        lines.append(
            f"Next: fix what prevents {', '.join(stuck)}, or do that by hand: "
            f"`standfast incident open {scenario}` does the others, and each of these fails. For "
            "accounts alone: `standfast lock ACCOUNT…`."
        )
    else:
        lines.append(f"Next: `standfast incident open {scenario}` with the same inputs.")
    call.say({**report.as_json(), "exit_status": int(status)}, lines)
    return status


@command(
    "open",
    exits={**PROGRESS_EXIT_STATUSES, ExitStatus.USAGE: "an input is missing or does not fit"},
    example="standfast incident open account-takeover -i accounts=alice,bob --as dana",
)
@click.argument("scenario", metavar="PLAYBOOK", help="`standfast playbook list` names them.")
@inputs_option
@exercise_option
@as_person_option
@no_wait_option
@passphrase_file_option
@click.pass_obj
def open_(
    call: Call,
    scenario: str,
    given: tuple[str, ...],
    exercise: bool,
    as_person: str | None,
    no_wait: bool,
    passphrase_file: Path | None,
) -> ExitStatus:
    """Open an incident and run its steps.

    The command ends when the incident is done or a step waits for a person.
    """
    return open_and_run_incident(
        call,
        scenario,
        inputs_of(given),
        exercise=exercise,
        as_person=as_person,
        no_wait=no_wait,
        passphrase_file=passphrase_file,
    )


@command(
    "list",
    exits={
        ExitStatus.DONE: "the incidents are listed; there may be none",
        ExitStatus.USAGE: "there is no ledger where the configuration says",
    },
    example="standfast incident list --open",
)
@click.option("--open", "open_only", is_flag=True, help="Open ones only.")
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
            "is_stopped": row.is_halted,
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
            "stopped" if row.is_open and row.is_halted else row.state,
            minute(row.opened_at, zone),
            row.opened_by,
        ]
        for row in found
    ]
    call.say({"incidents": document}, [Table(rows=rows)] if rows else ["There is none."])
    return ExitStatus.DONE


@command(
    "status",
    exits=PROGRESS_EXIT_STATUSES,
    example="standfast incident status inc-2026-0001 --targets",
)
@incident_argument
@click.option(
    "--targets", is_flag=True, help="Name every target and what was given; the look is noted."
)
@click.option("--timeline", is_flag=True, help="What happened, in order.")
@click.pass_obj
def status(call: Call, incident: str | None, targets: bool, timeline: bool) -> ExitStatus:
    """Show the state of an incident and its next step."""
    from standfast.usecases.incidents import result_summary
    from standfast.usecases.incidents.lifecycle import look

    with call.installation() as installation:
        incident_id, _ = resolve_incident(installation, incident)
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
            shown = [
                # A postal address has several lines.
                [
                    row.token[:8],
                    row.step,
                    row.state.value,
                    row.target.replace("\n", ", "),
                    row.reason,
                ]
                for row in rows
            ]
            inputs = installation.ledger.incidents.state(incident_id).inputs
            details["inputs"] = dict(inputs)
            given = [[name, _shown(value)] for name, value in inputs.items() if value is not None]
            if given:
                before += ["Given:", Table(rows=given, indent=2), ""]
            if shown:
                before += [Table(headings=("effect", "step", "", "target", ""), rows=shown), ""]
        if timeline:
            events = installation.ledger.timeline(incident_id)
            details["timeline"] = [
                {
                    "sequence": event.sequence,
                    "at": timestamp(event.at),
                    "actor": event.actor,
                    "action": event.action,
                    "detail": event.detail,
                }
                for event in events
            ]
            told_rows = [
                [
                    second(event.at, installation.config.organisation.time_zone),
                    event.actor,
                    event.action,
                    ", ".join(f"{key}={value}" for key, value in event.detail.items()),
                ]
                for event in events
            ]
            before += [Table(rows=told_rows), ""]
        return print_outcome(
            call, installation, look(installation, incident_id), details=details, before=before
        )


def _shown(value: Json) -> str:
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return str(value)


incident = Group(
    "incident",
    help="Plan, open, decide, watch, undo and close incidents.",
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
        stop,
        close,
        reopen,
        handover,
        after_action,
        carry_out,
    ],
)
