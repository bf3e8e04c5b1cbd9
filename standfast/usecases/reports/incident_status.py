"""Status of one incident: its steps, results, warnings and legal clocks.

A legal clock is the running deadline of a duty to notify somebody.

incident_status(installation, look(installation, incident_id)).as_json()
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from standfast.ledger.runs.call_outs import CallOut, CallOutState
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.engine import current_state, is_pending
from standfast.playbook.model import Step
from standfast.playbook.run_state import State, StepView
from standfast.playbook.status.next_step import LegalClocks, summarise_status
from standfast.records import Json, JsonObject, Mode, StepState, timestamp
from standfast.reports.report_records import IncidentObligations
from standfast.usecases.approvals.exercise_roles import missing_parts
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.outcome import Outcome
from standfast.usecases.incidents.result_summary import (
    Tally,
    missing_approvers,
    step_reasons,
    tallies,
)
from standfast.usecases.notice_follow_up.letters import include_waiting_letters
from standfast.usecases.reports.legal_obligations import incident_obligations


@dataclass(frozen=True, kw_only=True)
class IncidentStatus:
    """Status of an incident: its steps, results and open tasks of people."""

    outcome: Outcome
    tallies: tuple[Tally, ...]
    reasons: Mapping[str, str]  # reason of the result, by step
    missing_approvers: tuple[str, ...]  # a sentence per step nobody can approve or answer
    missing_parts: tuple[str, ...]  # only in an exercise: problems that would stop a live incident
    obligations: IncidentObligations | None
    call_outs: tuple[CallOut, ...]  # series of pages to people on call, newest first

    @property
    def state(self) -> State:
        return self.outcome.state

    @property
    def started_steps(self) -> list[StepView]:
        """Return the started steps in playbook order, then the added steps."""
        return started_steps_of(self.state)

    @property
    def pending(self) -> list[Step]:
        """Return the steps of the playbook that have not begun."""
        return [step for step in self.state.playbook.steps if is_pending(step, self.state)]

    @property
    def current_call_outs(self) -> list[CallOut]:
        """Return the open call-outs; if none is open, the newest call-out."""
        is_open = [found for found in self.call_outs if found.state is CallOutState.OPEN]
        return is_open or [*self.call_outs[:1]]

    @property
    def unsent(self) -> list[str]:
        """Return the steps that will send planned messages later."""
        sends = {step.name for step in self.state.playbook.steps if step.action == SEND}
        return [
            view.step
            for view in self.started_steps
            if view.step in sends and view.state is StepState.RUNNING and view.counts.planned
        ]

    def as_json(self) -> dict[str, Json]:
        """Return the JSON form."""
        state, summary, obligations = self.state, self.outcome.summary, self.obligations
        clocks: Json = None
        if obligations is not None and not obligations.trouble:
            clocks = {
                "missed": obligations.missed,
                "due_now": obligations.due_now,
                "next_due": timestamp(obligations.next_due) if obligations.next_due else None,
            }
        return {
            "incident": self.outcome.incident,
            "scenario": state.playbook.name,
            "mode": state.mode.value,
            "is_over": summary.is_over,
            "is_busy": summary.is_busy,
            "waits_for_people": summary.waits_for_people,
            "is_stopped": state.is_stopped_or_closed,
            "is_closed": state.is_closed,
            "steps": [self._step_as_json(view) for view in self.started_steps],
            "pending": [step.name for step in self.pending],
            "troubles": list(self.outcome.troubles),
            "headline": summary.headline,
            "next_step": summary.next_step,
            "clocks": clocks,
            "warnings": [
                *self.missing_approvers,
                *([obligations.trouble] if obligations and obligations.trouble else []),
            ],
            "missing_parts": [*self.missing_parts],
            "call_outs": [call_out.as_json() for call_out in self.call_outs],
        }

    def _step_as_json(self, view: StepView) -> JsonObject:
        counts = view.counts
        return {
            "step": view.step,
            "round": view.round,
            "state": current_state(view).value,
            "reason": self.reasons.get(view.step) or view.why,
            "targets": counts.total,
            "done": counts.done,
            "failed": counts.failed,
            "refused": counts.refused,
            "unknown": counts.unknown,
            "under_way": counts.under_way,
            "approvals": view.approvals,
            "approvals_needed": view.approvals_needed,
            "digest": view.digest,
            "results": [tally.as_json() for tally in self.tallies if tally.step == view.step],
        }


def incident_status(installation: Installation, outcome: Outcome) -> IncidentStatus:
    """Return the status of the incident with this outcome of the engine."""
    state, found = outcome.state, tallies(installation, outcome.incident)
    obligations = incident_obligations(installation, outcome.incident, state.mode)
    clocks = LegalClocks()
    if obligations is not None and state.mode is Mode.LIVE:
        clocks = LegalClocks(
            missed=obligations.missed, due_now=obligations.due_now, next_due=obligations.next_due
        )
    with_letters = include_waiting_letters(installation, state, found)
    is_exercise = state.mode is Mode.EXERCISE
    return IncidentStatus(
        outcome=replace(outcome, summary=summarise_status(with_letters, clocks)),
        tallies=tuple(found),
        reasons=step_reasons(installation, outcome.incident),
        missing_approvers=tuple(missing_approvers(installation, outcome.incident, state)),
        missing_parts=tuple(missing_parts(installation, state.playbook)) if is_exercise else (),
        obligations=obligations,
        call_outs=tuple(installation.ledger.call_outs.of_incident(outcome.incident)),
    )


def started_steps_of(state: State) -> list[StepView]:
    """Return the started steps in playbook order, then the added steps."""
    begun = [state.steps[s.name] for s in state.playbook.steps if not is_pending(s, state)]
    return [*begun, *state.extra]
