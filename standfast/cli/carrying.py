"""Carrying an incident on from the command line, and saying what came of it.

Rules
- A `standfast serve` that is alive gets a second to pick the incident up; then its work is
  followed. When none does, or when it dies, this process does the work itself.
- What is said afterwards: counts a step, why targets were not done, and one next step.
"""

import time
from typing import TYPE_CHECKING

from standfast.cli.call import Call
from standfast.cli.output import Line, Table, Tell
from standfast.errors import ExitStatus
from standfast.records import Json, JsonObject

if TYPE_CHECKING:
    from standfast.operations.incident import Outcome
    from standfast.operations.looks import Tally
    from standfast.operations.place import Place
    from standfast.playbook.engine import State, StepView

_PICKED_UP_SECONDS = 1.0
_LOOK_SECONDS = 0.1


def carry_on(
    call: Call, place: "Place", incident_id: str, *, told: JsonObject, before: list[Line]
) -> ExitStatus:
    """Carry an incident on and print what came of it, after `told` and the lines `before`."""
    from standfast.operations.incident import advance

    with call.progress() as tell:

        def show(state: "State") -> None:
            _show(tell, state)

        outcome = _followed(place, incident_id, tell)
        if outcome is None:
            outcome = advance(place, incident_id, "direct", show)
    return say_outcome(call, place, outcome, told=told, before=before)


def say_outcome(
    call: Call, place: "Place", outcome: "Outcome", *, told: JsonObject, before: list[Line]
) -> ExitStatus:
    """Print where an incident stands, and give that as an exit status."""
    from standfast.operations.looks import short_of_approvers, step_reasons, tallies

    found = tallies(place, outcome.incident)
    reasons = step_reasons(place, outcome.incident)
    short = short_of_approvers(place, outcome.incident, outcome.state)
    document: JsonObject = {
        **told,
        **_document(outcome, found, reasons),
        "warnings": [*short],
        "exit_status": int(outcome.exit_status),
    }
    call.say(document, [*before, *_lines(outcome, found, reasons, short)])
    return outcome.exit_status


def _followed(place: "Place", incident_id: str, tell: Tell) -> "Outcome | None":
    """Watch a `serve` do it; None when there is none, or it leaves work undone."""
    from standfast.operations.incident import has_work, look

    runners, clock = place.ledger.runners, place.clock
    if not runners.alive(None, clock()):
        return None
    give_up_at = time.monotonic() + _PICKED_UP_SECONDS
    while time.monotonic() < give_up_at:
        if runners.alive(incident_id, clock()):
            _show(tell, place.ledger.incidents.state(incident_id))
            give_up_at = time.monotonic() + _PICKED_UP_SECONDS
        elif not has_work(place, incident_id):
            return look(place, incident_id)
        time.sleep(_LOOK_SECONDS)
    return None


def _show(tell: Tell, state: "State") -> None:
    for view in _views(state):
        if view.counts.total:
            tell(view.step, view.counts.total - view.counts.under_way, view.counts.total)


def _views(state: "State") -> list["StepView"]:
    in_order = (state.steps.get(step.name) for step in state.playbook.steps)
    return [*(view for view in in_order if view is not None), *state.extra]


def _document(outcome: "Outcome", found: list["Tally"], reasons: dict[str, str]) -> dict[str, Json]:
    from standfast.playbook.engine import standing_state

    state, standing = outcome.state, outcome.standing
    steps: list[Json] = []
    for view in _views(state):
        counts = view.counts
        steps.append(
            {
                "step": view.step,
                "round": view.round,
                "state": standing_state(view).value,
                "reason": reasons.get(view.step, ""),
                "targets": counts.total,
                "done": counts.done,
                "failed": counts.failed,
                "refused": counts.refused,
                "unknown": counts.unknown,
                "under_way": counts.under_way,
                "approvals": view.approvals,
                "approvals_needed": view.approvals_needed,
                "results": [one.as_json() for one in found if one.step == view.step],
            }
        )
    pending: list[Json] = [s.name for s in state.playbook.steps if s.name not in state.steps]
    return {
        "incident": outcome.incident,
        "scenario": state.playbook.name,
        "mode": state.mode.value,
        "is_over": standing.is_over,
        "is_busy": standing.is_busy,
        "waits_for_people": standing.waits_for_people,
        "is_stopped": state.is_halted,
        "steps": steps,
        "pending": pending,
        "troubles": list(outcome.troubles),
        "next_step": standing.next_step,
    }


def _lines(
    outcome: "Outcome", found: list["Tally"], reasons: dict[str, str], short: list[str]
) -> list[Line]:
    from standfast.playbook.engine import standing_state

    state = outcome.state
    titles = {step.name: step.title for step in state.playbook.steps}
    lines: list[Line] = [f"{outcome.incident}: {state.playbook.title} ({state.mode.value})"]
    rows: list[list[str]] = []
    for view in _views(state):
        of_step = [one for one in found if one.step == view.step]
        told = ", ".join(one.sentence for one in of_step)
        told = told or _answered(state, view) or reasons.get(view.step, "")
        rows.append(
            [view.step, standing_state(view).value, told, titles.get(view.step, "Give back")]
        )
    rows += [
        [step.name, "pending", "", step.title]
        for step in state.playbook.steps
        if step.name not in state.steps
    ]
    lines.append(Table(rows=rows, indent=2))
    for one in found:
        if one.missed:
            lines += ["", f"{one.step}: {one.sentence}"]
            lines.append(
                Table(
                    rows=[
                        [
                            str(missed.count),
                            missed.state.value,
                            missed.reason or "not begun",
                            f"→ {missed.what_to_do}",
                        ]
                        for missed in one.missed
                    ],
                    indent=2,
                )
            )
    lines += [f"Held up: {trouble}" for trouble in outcome.troubles]
    if short:
        lines += ["", *(f"Warning: {one}" for one in short)]
    return [*lines, "", f"Next: {outcome.standing.next_step}"]


def _answered(state: "State", view: "StepView") -> str:
    """Say what was decided. What somebody wrote about a step by hand may be personal: not shown."""
    if view.answer is None:
        return ""
    asked = next((step for step in state.playbook.steps if step.name == view.step), None)
    return f"answered: {view.answer}" if asked and asked.options else "answered"
