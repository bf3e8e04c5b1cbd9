"""Retry of failed steps: their failed effects are planned again.

An effect is one act of a step on one target, such as one message or the lock of one account.

Rules
- A notice is one message for many recipients. If it was corrected after it was sent, its failed
  messages are not retried, because their text is wrong.
- A failed message is not retried either if an individual notice (a message to this one recipient)
  replaced it.
- A step that an approver refused is planned again, and then needs new signatures.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from standfast.errors import ApprovalRefused, Refused
from standfast.ledger.messages.sent_messages import individual_messages
from standfast.playbook.run_state import State, StepView
from standfast.playbook.status.unstarted_work import UnstartedStep, not_begun
from standfast.records import StepState
from standfast.usecases.approvals.step_decisions import (
    decision_actor,
    refuse_unknown_step,
    step_names,
)
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.lifecycle import refuse_closed
from standfast.usecases.incidents.step_expansion import expand_step
from standfast.usecases.notices.correction_history import newest_correction


@dataclass(frozen=True, kw_only=True)
class RetryResult:
    """The result of a retry."""

    count: int  # number of retried effects, plus number of steps that are planned again
    left: tuple[str, ...]  # steps that only other people may retry
    corrected: tuple[str, ...]  # steps whose notices were corrected and are not sent again
    not_begun: tuple[UnstartedStep, ...] = ()  # steps that have not begun, and did not fail
    is_stopped: bool = False


def retry(
    installation: Installation, incident_id: str, step: str | None = None, *, by: str | None = None
) -> RetryResult:
    """Plan failed effects again, and refused or failed steps without effects.

    Without `step`, retry all steps that `by` (the name of a person who signed in) may decide about.
    The other steps and the corrected notices are skipped, and the result names them. If `step` is a
    corrected notice, raise Refused. If `by` may not decide about `step`, raise ApprovalRefused.
    """
    refuse_closed(installation, incident_id)
    state = installation.ledger.incidents.state(incident_id)
    if step is not None:
        refuse_unknown_step(step, step_names(state), incident_id)
    count, not_allowed, corrected = 0, list[str](), list[str]()
    replaced = _replaced_messages(installation, incident_id)
    with closing(
        installation.adapters_for(installation.ledger.incidents.get(incident_id))
    ) as adapters:
        for name, view in _retryable(state):
            if step not in (None, name):
                continue
            try:
                # In a step that waits for approval, the only effects that can have failed are
                # messages that ask for the approval. Everybody may send these again.
                actor = (
                    (by or installation.actor)
                    if view.state is StepState.ASKING
                    else decision_actor(installation, state, name, by)
                )
            except ApprovalRefused:
                if step is not None:
                    raise
                not_allowed.append(name)
                continue
            # `counts` omits messages that ask for approval. These are sent again even if the notice
            # was corrected.
            if view.counts.failed and (newer := newest_correction(installation, incident_id, name)):
                if step is not None:
                    raise Refused(
                        f"{name}: {newer} corrects it, so its text is not sent again. Notify the "
                        "remaining recipients individually: `standfast notice held "
                        f"{incident_id}` lists them."
                    )
                corrected.append(name)
                continue
            count += installation.ledger.attempts.retry(
                incident_id, name, actor, installation.clock(), excluded=replaced
            )
            has_nothing = view.state is StepState.FAILED and not view.counts.total
            if name in state.steps and (has_nothing or view.state is StepState.REFUSED):
                expand_step(installation, state, adapters, name, view.round + 1)
                count += 1
    return RetryResult(
        count=count,
        left=tuple(not_allowed),
        corrected=tuple(corrected),
        not_begun=not_begun(state),
        is_stopped=state.is_stopped_or_closed,
    )


def _replaced_messages(installation: Installation, incident_id: str) -> list[str]:
    """Return the tokens of messages that an individual notice replaces."""
    refused = installation.ledger.steps.refused(incident_id)
    return [
        str(row.details["settles"])
        for row in individual_messages(installation.ledger.effects, incident_id)
        if "settles" in row.details and (row.step, row.round) not in refused
    ]


def _retryable(state: State) -> Iterator[tuple[str, StepView]]:
    """Yield each failed or refused step, and each step with failed messages."""
    for view in (*state.steps.values(), *state.extra):
        is_over = view.state in (StepState.FAILED, StepState.REFUSED)
        if is_over or view.counts.failed or view.state is StepState.ASKING:
            yield view.step, view
