"""`standfast incident`: plan, open, decide, watch, undo and close."""

from typing import Annotated

from standfast.cli.incidents import plan_promotion, shift_handover, step_decisions
from standfast.cli.incidents.incident_arguments import (
    PROGRESS_EXIT_STATUSES,
    IncidentArgument,
    inputs_of,
    resolve_incident,
)
from standfast.cli.incidents.incident_opening import (
    AsPerson,
    Exercise,
    NoWait,
    open_and_run_incident,
)
from standfast.cli.incidents.incident_progress import print_outcome
from standfast.cli.parsing.command_declaration import Argument, Group, Option, command, group
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.cli.terminal.passphrase import PassphraseFile
from standfast.errors import ExitStatus
from standfast.local_time import minute, second
from standfast.records import Json, timestamp

Inputs = Annotated[
    list[str] | None,
    Option(
        "--input",
        "-i",
        metavar="NAME=VALUE",
        help="An input of the playbook; NAME=@FILE reads it from a file, one a line.",
    ),
]


def add_to(app: Group) -> None:
    """Add the group."""
    incident = group(app, "incident", "Plan, open, decide, watch, undo and close incidents.")
    command(
        incident,
        "plan",
        exits={
            ExitStatus.DONE: "everything that is asked for can be carried out",
            ExitStatus.USAGE: "an input is missing, or the playbook names what is not here",
            ExitStatus.PARTIAL: "some targets would be refused; each reason is counted",
            ExitStatus.REFUSED: "a step cannot be carried out at all as things are",
        },
        example="standfast incident plan account-takeover --input accounts=@accounts.txt",
    )(plan)
    command(
        incident,
        "open",
        exits={**PROGRESS_EXIT_STATUSES, ExitStatus.USAGE: "an input is missing or does not fit"},
        example="standfast incident open account-takeover -i accounts=alice,bob --as dana",
    )(open_)
    command(
        incident,
        "list",
        exits={
            ExitStatus.DONE: "the incidents are listed; there may be none",
            ExitStatus.USAGE: "there is no ledger where the configuration says",
        },
        example="standfast incident list --open",
    )(list_incidents)
    command(
        incident,
        "status",
        exits=PROGRESS_EXIT_STATUSES,
        example="standfast incident status inc-2026-0001 --targets",
    )(status)
    step_decisions.add_to(incident)
    shift_handover.add_to(incident)
    plan_promotion.add_to(incident)


def plan(
    call: Call,
    scenario: Annotated[
        str, Argument(metavar="PLAYBOOK", help="`standfast playbook list` names them.")
    ],
    given: Inputs = None,
    as_person: AsPerson = None,
) -> ExitStatus:
    """Show what an incident would touch.

    Everything is read and nothing changed: who and what, what would be refused, what cannot be
    taken back, who must approve.
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
            inputs_of(given or ()),
            is_signed=as_person is not None,
            opened_by=as_person,
            progress=lambda done, total: tell("planning each step", done, total),
        )
    status = report.exit_status
    lines: list[Line] = [*as_lines(report)]
    stuck = [one.name for one in report.steps if one.impossible]
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


def open_(
    call: Call,
    scenario: Annotated[
        str, Argument(metavar="PLAYBOOK", help="`standfast playbook list` names them.")
    ],
    given: Inputs = None,
    exercise: Exercise = False,
    as_person: AsPerson = None,
    no_wait: NoWait = False,
    passphrase_file: PassphraseFile = None,
) -> ExitStatus:
    """Open an incident and carry it on.

    It ends when the incident is over or needs a person.
    """
    return open_and_run_incident(
        call,
        scenario,
        inputs_of(given or ()),
        exercise=exercise,
        as_person=as_person,
        no_wait=no_wait,
        passphrase_file=passphrase_file,
    )


def list_incidents(
    call: Call, open_only: Annotated[bool, Option("--open", help="Open ones only.")] = False
) -> ExitStatus:
    """List the incidents, oldest first."""
    with call.installation() as installation:
        found = installation.ledger.incidents.all(only_open=open_only)
        zone = installation.config.organisation.time_zone
    document: list[Json] = [
        {
            "incident": one.id,
            "scenario": one.scenario,
            "mode": one.mode.value,
            "state": one.state,
            "is_stopped": one.is_halted,
            "opened_at": timestamp(one.opened_at),
            "opened_by": one.opened_by,
            "closed_at": timestamp(one.closed_at) if one.closed_at else None,
        }
        for one in found
    ]
    rows = [
        [
            one.id,
            one.scenario,
            one.mode.value,
            "stopped" if one.is_open and one.is_halted else one.state,
            minute(one.opened_at, zone),
            one.opened_by,
        ]
        for one in found
    ]
    call.say({"incidents": document}, [Table(rows=rows)] if rows else ["There is none."])
    return ExitStatus.DONE


def status(
    call: Call,
    incident: IncidentArgument = None,
    targets: Annotated[
        bool,
        Option("--targets", help="Name every target and what was given; the look is noted."),
    ] = False,
    timeline: Annotated[bool, Option("--timeline", help="What happened, in order.")] = False,
) -> ExitStatus:
    """Say where an incident stands, and the one next step."""
    from standfast.usecases.incidents import result_summary
    from standfast.usecases.incidents.lifecycle import look

    with call.installation() as installation:
        incident_id, _ = resolve_incident(installation, incident)
        told: dict[str, Json] = {}
        before: list[Line] = []
        if targets:
            rows = result_summary.targets(installation, incident_id)
            told["targets"] = [
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
            told["inputs"] = dict(inputs)
            given = [[name, _shown(value)] for name, value in inputs.items() if value is not None]
            if given:
                before += ["Given:", Table(rows=given, indent=2), ""]
            if shown:
                before += [Table(headings=("effect", "step", "", "target", ""), rows=shown), ""]
        if timeline:
            events = installation.ledger.timeline(incident_id)
            told["timeline"] = [
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
            call, installation, look(installation, incident_id), told=told, before=before
        )


def _shown(value: Json) -> str:
    if isinstance(value, list):
        return ", ".join(str(one) for one in value)
    return str(value)
