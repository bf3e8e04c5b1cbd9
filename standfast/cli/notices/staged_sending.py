"""`standfast notice status`, `pause`, `resume`, `go` and `stop`.

A notice is sent in stages: first to a few recipients (the canary), later to the remaining ones.
"""

import click

from standfast.cli.incidents.incident_arguments import (
    PROGRESS_EXIT_STATUSES,
    incident_argument,
    open_incident,
)
from standfast.cli.incidents.incident_progress import run_and_print
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import no_wait_option
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line
from standfast.errors import ExitStatus
from standfast.plurals import counted
from standfast.records import DeliveryState, EffectState, Json, Mode, StepState, timestamp

step_argument = click.argument("step", required=False, help="The step that sends the notice.")
STEP_METAVAR = "STEP (`standfast notice status` lists them)"
_HELD_EXIT_STATUSES: dict[ExitStatus, str] = {
    ExitStatus.DONE: "the ledger records it, and every runner obeys it",
    ExitStatus.USAGE: "there is no such incident or step, or it sends nothing now",
}
_SENT_EXIT_STATUSES: dict[ExitStatus, str] = {
    **PROGRESS_EXIT_STATUSES,
    ExitStatus.USAGE: _HELD_EXIT_STATUSES[ExitStatus.USAGE],
}


@command(
    "status",
    exits={
        ExitStatus.DONE: "each notice of the incident is shown",
        ExitStatus.USAGE: "there is no such incident",
    },
    example="standfast notice status inc-2026-0001",
)
@incident_argument
@click.pass_obj
def status(call: Call, incident: str | None) -> ExitStatus:
    """Show the progress of each notice, and the time left to abort it."""
    from standfast.reports.report_sentences import state_words
    from standfast.usecases.incidents.result_summary import tallies

    with open_incident(call, incident) as (installation, incident_id, _):
        rows, now = installation.ledger.notices.of_incident(incident_id), installation.clock()
        delivery_reports = installation.ledger.deliveries.counts(incident_id)
        short = tallies(installation, incident_id)
        newest = {row.step: row.round for row in rows}
        case = installation.ledger.incidents.get(incident_id)
    is_stopped = case.is_stopped or not case.is_open
    document: list[Json] = []
    lines: list[Line] = []
    if case.mode is Mode.EXERCISE:
        lines.append("EXERCISE. No message is sent to anybody.")
    for row in rows:
        counts = {state.value: row.counts.get(state, 0) for state in EffectState}
        reports = delivery_reports.get((row.step, row.round), {})
        left = row.abort_seconds(now)
        document.append(
            {
                "step": row.step,
                "round": row.round,
                "template": row.template,
                "audience": row.audience,
                "state": row.state.value,
                "digest": row.digest,
                "root": row.root,
                "counts": counts,
                "heard": {state.value: reports.get(state, 0) for state in DeliveryState},
                "after_the_canary": row.waiting,
                "is_paused": row.is_paused,
                "abort_seconds": left,
                "runs_from": None if row.runs_from is None else timestamp(row.runs_from),
            }
        )
        text = ", ".join(
            f"{number:,} {state_words(EffectState(name))}"
            for name, number in counts.items()
            if number
        )
        is_held = is_stopped and not row.state.is_final
        state = "needs approval" if row.state is StepState.ASKING else row.state.value
        state = "stopped with the incident" if is_held else state
        lines.append(f"{row.step}: {row.template} to {row.audience}, {state}: {text}")
        lines += [
            f"    {missed.count:,} {missed.state.value}, {missed.reason}: {missed.named}"
            for tally in short
            if (tally.step, row.round) == (row.step, newest[row.step])
            for missed in tally.missed
            if missed.named
        ]
        of_step = f"{incident_id} {row.step}`"
        if reports:
            ends = ", ".join(f"{number:,} {state.value}" for state, number in reports.items())
            lines.append(f"    delivery reports: {ends}")
        if left and not is_stopped:
            lines.append(f"    starts in {left} s; to cancel it: `standfast notice stop {of_step}")
        if row.is_paused:
            lines.append(f"    paused; to resume it: `standfast notice resume {of_step}")
        if row.waiting:
            lines.append(
                f"    {row.waiting:,} wait for the outcome of the canary; to send now: `standfast "
                f"notice go {of_step}"
            )
    if not rows:
        lines.append(f"{incident_id} has no notice yet; nobody was notified.")
    return call.print_result({"incident": incident_id, "notices": document}, lines)


@command(
    "pause",
    exits=_HELD_EXIT_STATUSES,
    example="standfast notice pause inc-2026-0001 tell_customers",
)
@incident_argument
@step_argument
@click.pass_obj
def pause(call: Call, incident: str | None, step: str | None) -> ExitStatus:
    """Pause one notice; the rest of the incident continues."""
    from standfast.usecases.notices import staged_sending

    with open_incident(call, incident, step, takes=STEP_METAVAR) as (
        installation,
        incident_id,
        (name,),
    ):
        staged_sending.pause(installation, incident_id, name)
    return call.print_result(
        {"incident": incident_id, "step": name, "is_paused": True},
        [
            f"{name} is paused. Messages under way are completed; no other is sent.",
            f"Next: `standfast notice resume {incident_id} {name}`.",
            f"To cancel it: `standfast notice stop {incident_id} {name}`.",
        ],
    )


@command(
    "resume",
    exits=_SENT_EXIT_STATUSES,
    example="standfast notice resume inc-2026-0001 tell_customers",
)
@incident_argument
@step_argument
@no_wait_option
@click.pass_obj
def resume(call: Call, incident: str | None, step: str | None) -> ExitStatus:
    """Resume a paused notice.

    If no message was sent yet, the time before the first message (the abort window) begins again.
    """
    from standfast.usecases.notices import staged_sending

    with open_incident(call, incident, step, takes=STEP_METAVAR) as (
        installation,
        incident_id,
        (name,),
    ):
        staged_sending.resume(installation, incident_id, name)
        details: dict[str, Json] = {"step": name, "is_paused": False}
        return run_and_print(call, installation, incident_id, details, [f"{name} is resumed."])


@command(
    "go", exits=_SENT_EXIT_STATUSES, example="standfast notice go inc-2026-0001 tell_customers"
)
@incident_argument
@step_argument
@no_wait_option
@click.pass_obj
def go(call: Call, incident: str | None, step: str | None) -> ExitStatus:
    """Send a notice to the remaining recipients now, without further waiting."""
    from standfast.usecases.notices import staged_sending

    with open_incident(call, incident, step, takes=STEP_METAVAR) as (
        installation,
        incident_id,
        (name,),
    ):
        number = staged_sending.go(installation, incident_id, name)
        before = [f"{name}: {counted(number, 'remaining recipient')} released for sending."]
        details: dict[str, Json] = {"step": name, "released": number}
        return run_and_print(call, installation, incident_id, details, before)


@command(
    "stop",
    exits=_HELD_EXIT_STATUSES,
    example='standfast notice stop inc-2026-0001 tell_customers --why "wrong audience"',
)
@incident_argument
@step_argument
@click.option("--why", default="", help="The reason, recorded for each recipient.")
@click.pass_obj
def stop(call: Call, incident: str | None, step: str | None, why: str) -> ExitStatus:
    """Cancel the messages of a notice that were not sent yet."""
    from standfast.usecases.notices import staged_sending

    with open_incident(call, incident, step, takes=STEP_METAVAR) as (
        installation,
        incident_id,
        (name,),
    ):
        number = staged_sending.stop(installation, incident_id, name, why or "no reason was given")
    return call.print_result(
        {"incident": incident_id, "step": name, "stopped": number},
        [
            f"{name}: {counted(number, 'message')} cancelled.",
            f"Next: `standfast notice accounting {incident_id}` shows who was notified.",
        ],
    )
