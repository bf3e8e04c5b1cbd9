"""Carrying an incident on from the command line, and saying what came of it.

Rules
- A `standfast serve` that is alive gets a second to pick the incident up; then its work is
  followed. When none does, or when it dies, this process does the work itself.
- Nobody is kept from a question while a message is only tried again later: `serve` goes on.
- What is said afterwards: counts a step, why targets were not done, and one next step.
- What was sealed is time-stamped once all is said, where this process did the work: no answer waits
  for an authority.
"""

import sys
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table, Tell
from standfast.errors import ExitStatus, StandfastError
from standfast.local_time import minute
from standfast.playbook.actions.notices_send import SEND
from standfast.plurals import counted
from standfast.records import EffectState, Json, JsonObject, Mode, StepState, timestamp

if TYPE_CHECKING:
    from standfast.playbook.run_state import State, StepView
    from standfast.reports.report_records import Duties
    from standfast.usecases.core.installation import Installation
    from standfast.usecases.incidents.outcome import Outcome
    from standfast.usecases.incidents.result_summary import Tally

_PICKED_UP_SECONDS = 1.0
_LOOK_SECONDS = 0.1
_STAMP_SECONDS = 5.0
_WHY = {EffectState.SUBMITTING: "it may have happened already"}
_EXERCISE = "EXERCISE. Nothing live is touched: what is said to be done was done to stand-ins."


def carry_on(
    call: Call,
    installation: "Installation",
    incident_id: str,
    *,
    told: JsonObject,
    before: list[Line],
    undo_came_to: StepState | None = None,
) -> ExitStatus:
    """Carry an incident on and print what came of it, after `told` and the lines `before`."""
    from standfast.usecases.incidents.lifecycle import advance

    with call.progress() as tell:

        def show(state: "State") -> None:
            _show(tell, state)

        followed = _followed(installation, incident_id, tell)
        outcome = followed or advance(installation, incident_id, "direct", show)
    outcome = replace(outcome, undo_came_to=undo_came_to)
    status = print_outcome(call, installation, outcome, told=told, before=before)
    if followed is None and installation.config.custody.timestamp is not None:
        _stamp(installation, incident_id)
    return status


def _stamp(installation: "Installation", incident_id: str) -> None:
    """Have what was sealed stamped, in one short try; `status` names what is left."""
    from standfast.usecases.evidence.time_stamps import stamp_pending

    with suppress(OSError):  # who reads it may have gone; the end of the process says so
        sys.stdout.flush()
    with suppress(StandfastError, OSError, KeyboardInterrupt):
        for _ in stamp_pending(installation, incident_id, seconds=_STAMP_SECONDS):
            pass  # each folder is named by `evidence list`


def go_on(
    call: Call,
    installation: "Installation",
    incident_id: str,
    *,
    no_wait: bool,
    told: dict[str, Json] | None = None,
    before: list[Line] | None = None,
    undo_came_to: StepState | None = None,
) -> ExitStatus:
    """Carry on what somebody's word has moved; with `no_wait`, only say where it stands."""
    from standfast.usecases.incidents.lifecycle import look

    if no_wait:
        return print_outcome(
            call,
            installation,
            look(installation, incident_id),
            told=told or {},
            before=before or [],
            status=ExitStatus.DONE,  # it is noted, whatever the incident waits for
        )
    return carry_on(
        call,
        installation,
        incident_id,
        told=told or {},
        before=before or [],
        undo_came_to=undo_came_to,
    )


def print_outcome(
    call: Call,
    installation: "Installation",
    outcome: "Outcome",
    *,
    told: JsonObject,
    before: list[Line],
    status: ExitStatus | None = None,
) -> ExitStatus:
    """Print where an incident stands, and give that as an exit status, unless it is another one."""
    from standfast.playbook.status.next_step import LegalClocks, standing
    from standfast.usecases.approvals.exercise_roles import missing_parts
    from standfast.usecases.incidents.result_summary import (
        missing_approvers,
        step_reasons,
        tallies,
    )
    from standfast.usecases.notice_follow_up.letters import include_waiting_letters
    from standfast.usecases.reports.legal_duties import duties_of

    found = tallies(installation, outcome.incident)
    reasons = step_reasons(installation, outcome.incident)
    short = missing_approvers(installation, outcome.incident, outcome.state)
    state = outcome.state
    status = outcome.exit_status if status is None else status
    is_exercise = state.mode is Mode.EXERCISE
    lacking = missing_parts(installation, state.playbook) if is_exercise else []
    owed = duties_of(installation, outcome.incident, outcome.state.mode)
    clocks = LegalClocks()
    if owed is not None and state.mode is Mode.LIVE:
        clocks = LegalClocks(missed=owed.missed, due_now=owed.due_now, next_due=owed.next_due)
    known = include_waiting_letters(installation, state, found)
    outcome = replace(outcome, standing=standing(known, clocks))
    document: JsonObject = {
        **told,
        **_document(outcome, found, reasons),
        "clocks": _clocks_document(owed),
        "warnings": [*short, *([owed.trouble] if owed and owed.trouble else [])],
        "missing_parts": [*lacking],
        "exit_status": int(status),
    }
    warned = [
        *_clocks_lines(outcome.incident, owed, installation.config.organisation.time_zone),
        *(f"Warning: {one}" for one in short),
        *_rehearsed_lines(lacking),
    ]
    played = [_EXERCISE] if is_exercise else []
    call.say(document, [*played, *before, *_lines(outcome, found, reasons, warned)])
    return status


def _clocks_document(owed: "Duties | None") -> Json:
    if owed is None or owed.trouble:
        return None
    return {
        "missed": owed.missed,
        "due_now": owed.due_now,
        "next_due": timestamp(owed.next_due) if owed.next_due else None,
    }


def _clocks_lines(incident: str, owed: "Duties | None", zone: str) -> list[str]:
    """Say in one line how many legal clocks are missed or due now, and when the next one ends."""
    if owed is not None and owed.trouble:
        return [f"Warning: no legal clock can be counted: {owed.trouble}"]
    if owed is None or not (owed.missed or owed.due_now or owed.next_due):
        return []
    told = [f"{counted(owed.missed, 'clock')} missed"] if owed.missed else []
    told += [f"{owed.due_now} due now (without delay)"] if owed.due_now else []
    if owed.next_due:
        told.append(f"the next is due {minute(owed.next_due, zone)}")
    return [f"Legal clocks: {', '.join(told)}; `standfast deadline list {incident}`"]


def _rehearsed_lines(lacking: list[str]) -> list[str]:
    """Say what an exercise had to make up, and what a live run would stop at."""
    if not lacking:
        return []
    return ["Rehearsed with stand-ins. Before this can run live:", *(f"  - {x}" for x in lacking)]


def _followed(installation: "Installation", incident_id: str, tell: Tell) -> "Outcome | None":
    """Watch a `serve` do it; None when there is none, or it leaves work undone."""
    from standfast.retry_rules import LONGEST_WHILE_ASKED
    from standfast.usecases.incidents.lifecycle import has_work, look
    from standfast.usecases.incidents.runner_waiting import (
        waits_only_for_notices as asks_meanwhile,
    )

    patience = LONGEST_WHILE_ASKED.total_seconds()
    runners, clock = installation.ledger.runners, installation.clock
    if not runners.alive(None, clock()):
        return None
    give_up_at = time.monotonic() + _PICKED_UP_SECONDS
    asks_since: float | None = None
    while time.monotonic() < give_up_at:
        if runners.alive(incident_id, clock()):
            state = installation.ledger.incidents.state(incident_id)
            _show(tell, state)
            give_up_at = time.monotonic() + _PICKED_UP_SECONDS
            asks_since = (asks_since or time.monotonic()) if asks_meanwhile(state) else None
            if asks_since is not None and time.monotonic() - asks_since > patience:
                return look(installation, incident_id)
        elif not has_work(installation, incident_id):
            return look(installation, incident_id)
        time.sleep(_LOOK_SECONDS)
    return None


def _show(tell: Tell, state: "State") -> None:
    for view in _views(state):
        if view.counts.total:
            tell(view.step, view.counts.total - view.counts.under_way, view.counts.total)


def _views(state: "State") -> list["StepView"]:
    from standfast.playbook.engine import is_pending

    begun = [state.steps[s.name] for s in state.playbook.steps if not is_pending(s, state)]
    return [*begun, *state.extra]


def _document(outcome: "Outcome", found: list["Tally"], reasons: dict[str, str]) -> dict[str, Json]:
    from standfast.playbook.engine import is_pending, standing_state

    state, standing = outcome.state, outcome.standing
    steps: list[Json] = []
    for view in _views(state):
        counts = view.counts
        steps.append(
            {
                "step": view.step,
                "round": view.round,
                "state": standing_state(view).value,
                "reason": reasons.get(view.step) or view.why,
                "targets": counts.total,
                "done": counts.done,
                "failed": counts.failed,
                "refused": counts.refused,
                "unknown": counts.unknown,
                "under_way": counts.under_way,
                "approvals": view.approvals,
                "approvals_needed": view.approvals_needed,
                "digest": view.digest,
                "results": [one.as_json() for one in found if one.step == view.step],
            }
        )
    pending: list[Json] = [s.name for s in state.playbook.steps if is_pending(s, state)]
    return {
        "incident": outcome.incident,
        "scenario": state.playbook.name,
        "mode": state.mode.value,
        "is_over": standing.is_over,
        "is_busy": standing.is_busy,
        "waits_for_people": standing.waits_for_people,
        "is_stopped": state.is_halted,
        "is_closed": state.is_closed,
        "steps": steps,
        "pending": pending,
        "troubles": list(outcome.troubles),
        "headline": standing.headline,
        "next_step": standing.next_step,
    }


def _lines(
    outcome: "Outcome", found: list["Tally"], reasons: dict[str, str], warned: list[str]
) -> list[Line]:
    from standfast.playbook.engine import is_pending
    from standfast.usecases.core.additional_steps import additional_step_title

    state = outcome.state
    titles = {step.name: step.title for step in state.playbook.steps}
    lines: list[Line] = [
        f"{outcome.incident}: {state.playbook.title} ({_mode_words(state)})",
        f"State: {outcome.standing.headline}.",
    ]
    rows: list[list[str]] = []
    for view in _views(state):
        of_step = [one for one in found if one.step == view.step]
        told = "; ".join(one.sentence for one in of_step)
        told = told or _answered(state, view)
        title = titles.get(view.step) or additional_step_title(view.step)
        # In the last cell, which alone is folded on a terminal.
        why = "" if told else reasons.get(view.step, "")
        rows.append(
            [
                view.step,
                _state_words(state, view),
                told,
                f"{title} ({why})" if why else title,
            ]
        )
    rows += [
        [step.name, "not reached" if state.is_closed else "later", "", step.title]
        for step in state.playbook.steps
        if is_pending(step, state)
    ]
    lines.append(Table(rows=rows, indent=2))
    for one in found:
        if one.missed:
            lines += ["", f"{one.step}: {one.sentence}", Table(rows=_missed_rows(one), indent=2)]
    if any(missed.who for one in found for missed in one.missed):
        lines.append(f"Each by name: `standfast incident status {outcome.incident} --targets`")
    lines += [f"`{view.step}` asks: {view.why}." for view in _views(state) if view.why]
    lines += [f"Error: {trouble}" for trouble in outcome.troubles]
    lines += [
        f"Still to be sent: `{name}`; `standfast serve` goes on, or `standfast incident resume "
        f"{outcome.incident}`."
        for name in _still_to_be_sent(outcome)
    ]
    if warned:
        lines += ["", *warned]
    return [*lines, *_to_be_done(outcome), "", f"Next: {outcome.standing.next_step}"]


def _mode_words(state: "State") -> str:
    """Return the mode of an incident, and that it is stopped or closed: nothing of it is live."""
    end = "closed" if state.is_closed else "stopped" if state.is_halted else ""
    return f"{state.mode.value}, {end}" if end else state.mode.value


def _state_words(state: "State", view: "StepView") -> str:
    """Return the state of a step; one that is held or interrupted is not said to run."""
    from standfast.playbook.engine import standing_state
    from standfast.playbook.status.headline import INTERRUPTED
    from standfast.playbook.status.progress import interrupted

    reached = standing_state(view)
    if view in interrupted(state):
        return INTERRUPTED
    goes_on = not state.is_halted or (view.is_undo and not view.is_paused and not state.is_closed)
    if reached.is_final or goes_on:
        return _waiting_words(state, view) or reached.value
    return "not ended" if state.is_closed else "stopped"


def _waiting_words(state: "State", view: "StepView") -> str:
    """Return what a step needs of a person; empty if it needs nothing."""
    from standfast.playbook.model import StepKind
    from standfast.playbook.status.progress import step_of

    if view.state is StepState.ASKING:
        return "needs approval"
    if view.state is not StepState.PROMPTED:
        return ""
    step = step_of(state.playbook, view)
    return "needs an answer" if step and step.kind is StepKind.DECIDE else "by hand"


def _missed_rows(one: "Tally") -> list[list[str]]:
    """Say of each reason how many were not done for it, who the first are, and what to do."""
    from standfast.reports.report_sentences import state_words

    rows: list[list[str]] = []
    for missed in one.missed:
        why = missed.reason or _WHY.get(missed.state, "")
        # One cell, and the last: on a terminal only that one is folded.
        told = f"{why} → {missed.what_to_do}" if why else missed.what_to_do
        rows.append([f"{missed.count:,}", state_words(missed.state), told])
        rows += [["", "", missed.named]] if missed.named else []
    return rows


def _still_to_be_sent(outcome: "Outcome") -> list[str]:
    """Name the steps that are trying a message again later."""
    is_sending = {s.name for s in outcome.state.playbook.steps if s.action == SEND}
    return [
        view.step
        for view in _views(outcome.state)
        if view.step in is_sending and view.state is StepState.RUNNING and view.counts.planned
    ]


def _to_be_done(outcome: "Outcome") -> list[Line]:
    """Write out what the person whom the next step asks has to do, or to find out first."""
    step = outcome.standing.asked
    if step is None or not (step.instructions or step.facts):
        return []
    if step.instructions:
        told = step.instructions.strip().splitlines()
        return ["", f"{step.title}:", *(f"  {line}".rstrip() for line in told)]
    return ["", "Find out first:", *(f"  - {fact}" for fact in step.facts)]


def _answered(state: "State", view: "StepView") -> str:
    """Say what was decided. What somebody wrote about a step by hand may be personal: not shown."""
    if view.answer is None:
        return ""
    asked = next((step for step in state.playbook.steps if step.name == view.step), None)
    return f"answered: {view.answer}" if asked and asked.options else "answered"
