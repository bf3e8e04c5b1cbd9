"""Output of the status of an incident: states in words, reasons, rows."""

from collections.abc import Sequence

from standfast.cli.incidents.call_out_text import call_out_line
from standfast.cli.terminal.output import Line, Table
from standfast.local_time import minute
from standfast.playbook.engine import current_state
from standfast.playbook.model import StepKind
from standfast.playbook.run_state import State, StepView
from standfast.playbook.status.headline import INTERRUPTED
from standfast.playbook.status.next_step import StatusSummary
from standfast.playbook.status.progress import interrupted, step_of
from standfast.plurals import counted
from standfast.records import EffectState, StepState
from standfast.reports.report_records import IncidentObligations
from standfast.reports.report_sentences import state_words
from standfast.usecases.core.additional_steps import additional_step_title
from standfast.usecases.incidents.result_summary import Tally
from standfast.usecases.reports.incident_status import IncidentStatus

_STATE_REASONS = {EffectState.SUBMITTING: "it may already have happened"}


def status_lines(status: IncidentStatus, zone: str) -> list[Line]:
    """Return the lines of the status: steps, problems and the next step."""
    incident, state, position = status.outcome.incident, status.state, status.outcome.summary
    lines: list[Line] = [
        f"{incident}: {state.playbook.title} ({_mode_words(state)})",
        f"State: {position.headline}.",
        Table(rows=_step_rows(status), indent=2),
    ]
    for tally in status.tallies:
        if tally.missed:
            lines += [
                "",
                f"{tally.step}: {tally.sentence}",
                Table(rows=_missed_rows(tally), indent=2),
            ]
    if any(missed.who for tally in status.tallies for missed in tally.missed):
        lines.append(f"All targets by name: `standfast incident status {incident} --targets`")
    lines += [
        f"Why `{view.step}` needs an approval: {view.why}."
        for view in status.started_steps
        if view.why
    ]
    lines += [f"Error: {trouble}" for trouble in status.outcome.troubles]
    lines += [
        f"Not fully sent: `{name}`. `standfast serve` continues it, or `standfast incident resume "
        f"{incident}`."
        for name in status.unsent
    ]
    warned = [
        *(call_out_line(call_out, incident, zone) for call_out in status.current_call_outs),
        *_clocks_lines(incident, status.obligations, zone),
        *(f"Warning: {warning}" for warning in status.missing_approvers),
        *_missing_part_lines(status.missing_parts),
    ]
    if warned:
        lines += ["", *warned]
    return [*lines, *_instruction_lines(position), "", f"Next: {position.next_step}"]


def _step_rows(status: IncidentStatus) -> list[list[str]]:
    state = status.state
    titles = {step.name: step.title for step in state.playbook.steps}
    rows: list[list[str]] = []
    for view in status.started_steps:
        results = "; ".join(tally.sentence for tally in status.tallies if tally.step == view.step)
        results = results or _answer_text(state, view)
        title = titles.get(view.step) or additional_step_title(view.step)
        # The reason is in the last cell, because only the last cell is wrapped on a terminal.
        why = "" if results else status.reasons.get(view.step, "")
        title = f"{title} ({why})" if why else title
        rows.append([view.step, _state_words(state, view), results, title])
    later = "not reached" if state.is_closed else "later"
    return [*rows, *([step.name, later, "", step.title] for step in status.pending)]


def _clocks_lines(incident: str, obligations: IncidentObligations | None, zone: str) -> list[str]:
    """Return one line on legal time limits: missed, due now, the next one."""
    if obligations is not None and obligations.trouble:
        return [f"Warning: no legal clock can be counted: {obligations.trouble}"]
    if obligations is None or not (
        obligations.missed or obligations.due_now or obligations.next_due
    ):
        return []
    parts = [f"{counted(obligations.missed, 'clock')} missed"] if obligations.missed else []
    parts += [f"{obligations.due_now} due now (without delay)"] if obligations.due_now else []
    if obligations.next_due:
        parts.append(f"the next is due {minute(obligations.next_due, zone)}")
    return [f"Legal clocks: {', '.join(parts)}. See all: `standfast deadline list {incident}`"]


def _missing_part_lines(missing_parts: Sequence[str]) -> list[str]:
    """Return the lines on what the installation lacks for a live run."""
    if not missing_parts:
        return []
    return [
        "Rehearsed with simulators. Before this can run live:",
        *(f"  - {x}" for x in missing_parts),
    ]


def _mode_words(state: State) -> str:
    """Return the mode of an incident, and whether it is stopped or closed."""
    end = "closed" if state.is_closed else "stopped" if state.is_stopped_or_closed else ""
    return f"{state.mode.value}, {end}" if end else state.mode.value


def _state_words(state: State, view: StepView) -> str:
    """Return the state of a step, such as `stopped` or `interrupted`."""
    reached = current_state(view)
    if view in interrupted(state):
        return INTERRUPTED
    continues = not state.is_stopped_or_closed or (
        view.is_undo and not view.is_paused and not state.is_closed
    )
    if reached.is_final or continues:
        return _waiting_words(state, view) or reached.value
    return "not finished" if state.is_closed else "stopped"


def _waiting_words(state: State, view: StepView) -> str:
    """Return the action that a step needs from a person, or an empty text."""
    if view.state is StepState.ASKING:
        return "needs approval"
    if view.state is not StepState.PROMPTED:
        return ""
    step = step_of(state.playbook, view)
    return "needs an answer" if step and step.kind is StepKind.DECIDE else "by hand"


def _missed_rows(tally: Tally) -> list[list[str]]:
    """Return a row for each reason: count, state, reason, first targets."""
    rows: list[list[str]] = []
    for missed in tally.missed:
        why = missed.reason or _STATE_REASONS.get(missed.state, "")
        # The action is in the last cell, because only the last cell is wrapped on a terminal.
        reason = f"{why} → {missed.what_to_do}" if why else missed.what_to_do
        rows.append([f"{missed.count:,}", state_words(missed.state), reason])
        rows += [["", "", missed.named]] if missed.named else []
    return rows


def _instruction_lines(position: StatusSummary) -> list[Line]:
    """Return the instructions or facts for the person that decides next."""
    step = position.prompted_step
    if step is None or not (step.instructions or step.facts):
        return []
    if step.instructions:
        parts = step.instructions.strip().splitlines()
        return ["", f"{step.title}:", *(f"  {line}".rstrip() for line in parts)]
    return ["", "Find out first:", *(f"  - {fact}" for fact in step.facts)]


def _answer_text(state: State, view: StepView) -> str:
    """Return the chosen option; a free text may be personal and is hidden."""
    if view.answer is None:
        return ""
    asked = next((step for step in state.playbook.steps if step.name == view.step), None)
    return f"answered: {view.answer}" if asked and asked.options else "answered"
