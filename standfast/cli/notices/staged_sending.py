"""`standfast notice status`, `pause`, `resume`, `go` and `stop`."""

import click

from standfast.cli.incidents.incident_arguments import (
    PROGRESS_EXIT_STATUSES,
    incident_argument,
    resolve_incident,
)
from standfast.cli.incidents.incident_opening import no_wait_option
from standfast.cli.incidents.incident_progress import go_on
from standfast.cli.parsing.commands import command
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line
from standfast.errors import ExitStatus
from standfast.plurals import counted
from standfast.records import DeliveryState, EffectState, Json, Mode, timestamp

step_argument = click.argument(
    "step", required=False, help="The step of the playbook that tells people."
)
STEP_METAVAR = "STEP (`standfast notice status` names each)"
_SAID: dict[ExitStatus, str] = {
    ExitStatus.DONE: "it is in the ledger, and every runner keeps to it",
    ExitStatus.USAGE: "there is no such incident or step, or nothing of it goes out now",
}

_MOVED: dict[ExitStatus, str] = {
    **PROGRESS_EXIT_STATUSES,
    ExitStatus.USAGE: _SAID[ExitStatus.USAGE],
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
    """Show the progress and the abort window of each notice."""
    from standfast.reports.report_sentences import state_words
    from standfast.usecases.incidents.result_summary import tallies

    with call.installation() as installation:
        incident_id, _ = resolve_incident(installation, incident)
        rows, now = installation.ledger.notices.of_incident(incident_id), installation.clock()
        heard = installation.ledger.deliveries.counts(incident_id)
        short = tallies(installation, incident_id)
        newest = {row.step: row.round for row in rows}
        case = installation.ledger.incidents.get(incident_id)
    is_exercise, is_stopped = case.mode is Mode.EXERCISE, case.is_halted or not case.is_open
    document: list[Json] = []
    lines: list[Line] = ["EXERCISE. Nobody outside is written to."] if is_exercise else []
    for row in rows:
        counts = {state.value: row.counts.get(state, 0) for state in EffectState}
        told_of = heard.get((row.step, row.round), {})
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
                "heard": {state.value: told_of.get(state, 0) for state in DeliveryState},
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
        held = is_stopped and not row.state.is_final
        shown = "stopped with the incident" if held else row.state.value
        lines.append(f"{row.step}: {row.template} to {row.audience}, {shown}: {text}")
        lines += [
            f"    {missed.count:,} {missed.state.value}, {missed.reason}: {missed.named}"
            for tally in short
            if (tally.step, row.round) == (row.step, newest[row.step])
            for missed in tally.missed
            if missed.named
        ]
        if told_of:
            ends = ", ".join(f"{number:,} {state.value}" for state, number in told_of.items())
            lines.append(f"    later reports of what was handed over: {ends}")
        if left and not is_stopped:
            lines.append(
                f"    sending begins in {left} s; to give it up: `standfast notice stop "
                f"{incident_id} {row.step}`"
            )
        if row.is_paused:
            lines.append(f"    paused; `standfast notice resume {incident_id} {row.step}`")
        if row.waiting:
            lines.append(
                f"    {row.waiting:,} wait for the first messages; to send now: `standfast notice "
                f"go {incident_id} {row.step}`"
            )
    if not rows:
        lines.append(f"{incident_id} has notified nobody; no notice of it is planned.")
    call.say(
        {"incident": incident_id, "notices": document},
        lines,
    )
    return ExitStatus.DONE


@command("pause", exits=_SAID, example="standfast notice pause inc-2026-0001 tell_customers")
@incident_argument
@step_argument
@click.pass_obj
def pause(call: Call, incident: str | None, step: str | None) -> ExitStatus:
    """Pause one notice; the rest of the incident continues."""
    from standfast.usecases.notices import staged_sending

    with call.installation() as installation:
        incident_id, (name,) = resolve_incident(
            installation, incident, step, least=1, most=1, takes=STEP_METAVAR
        )
        staged_sending.pause(installation, incident_id, name)
    call.say(
        {"incident": incident_id, "step": name, "is_paused": True},
        [
            f"{name} is paused. What is under way ends; nothing more is sent.",
            f"Next: `standfast notice resume {incident_id} {name}`.",
            f"To give it up for good: `standfast notice stop {incident_id} {name}`.",
        ],
    )
    return ExitStatus.DONE


@command("resume", exits=_MOVED, example="standfast notice resume inc-2026-0001 tell_customers")
@incident_argument
@step_argument
@no_wait_option
@click.pass_obj
def resume(call: Call, incident: str | None, step: str | None, no_wait: bool) -> ExitStatus:
    """Resume a paused notice.

    If no message was sent yet, its abort window begins again.
    """
    from standfast.usecases.notices import staged_sending

    with call.installation() as installation:
        incident_id, (name,) = resolve_incident(
            installation, incident, step, least=1, most=1, takes=STEP_METAVAR
        )
        staged_sending.resume(installation, incident_id, name)
        details: dict[str, Json] = {"step": name, "is_paused": False}
        before: list[Line] = [f"{name} goes on."]
        return go_on(
            call, installation, incident_id, no_wait=no_wait, details=details, before=before
        )


@command("go", exits=_MOVED, example="standfast notice go inc-2026-0001 tell_customers")
@incident_argument
@step_argument
@no_wait_option
@click.pass_obj
def go(call: Call, incident: str | None, step: str | None, no_wait: bool) -> ExitStatus:
    """Send a notice to the remaining recipients after the canary, now."""
    from standfast.usecases.notices import staged_sending

    with call.installation() as installation:
        incident_id, (name,) = resolve_incident(
            installation, incident, step, least=1, most=1, takes=STEP_METAVAR
        )
        number = staged_sending.go(installation, incident_id, name)
        details: dict[str, Json] = {"step": name, "released": number}
        before: list[Line] = [
            f"{counted(number, 'more recipient')} of {name} may be written to now."
        ]
        return go_on(
            call, installation, incident_id, no_wait=no_wait, details=details, before=before
        )


@command(
    "stop",
    exits=_SAID,
    example='standfast notice stop inc-2026-0001 tell_customers --why "wrong audience"',
)
@incident_argument
@step_argument
@click.option("--why", default="", help="Kept with each who is not told.")
@click.pass_obj
def stop(call: Call, incident: str | None, step: str | None, why: str) -> ExitStatus:
    """Cancel the messages of a notice that were not sent yet."""
    from standfast.usecases.notices import staged_sending

    with call.installation() as installation:
        incident_id, (name,) = resolve_incident(
            installation, incident, step, least=1, most=1, takes=STEP_METAVAR
        )
        number = staged_sending.stop(installation, incident_id, name, why or "no reason was given")
    call.say(
        {"incident": incident_id, "step": name, "stopped": number},
        [
            f"{counted(number, 'recipient')} of {name} will not be written to.",
            f"Next: see who was notified: `standfast notice accounting {incident_id}`.",
        ],
    )
    return ExitStatus.DONE
