"""Codes of the containment measures that an incident has taken and proven.

A notice (a message to the people concerned) has a text for each code.

Rules
- A code is returned only if every step with the action is done for every target. Measures in
  progress, accepted failures, and proofs that failed when they were repeated have no code.
- A proof of a lock has a level, such as "sessions ended" or "sign-in refused". The code follows the
  lowest level of all targets: if one account directory cannot count sessions, a notice does not say
  that sessions were ended.
"""

from collections.abc import Iterator

from standfast.playbook.actions.accounts_lock import LOCK
from standfast.playbook.actions.accounts_prove_locked import PROVE
from standfast.playbook.actions.evidence_snapshot import SNAPSHOT
from standfast.playbook.engine import current_state
from standfast.playbook.run_state import State, StepView
from standfast.records import Proof, StepState

ACCOUNTS_LOCKED = "accounts-locked"
SESSIONS_ENDED = "sessions-ended"
SIGN_IN_REFUSED = "sign-in-refused"
LOGS_KEPT = "logs-kept"

_BY_PROOF = {Proof.SESSIONS_GONE: SESSIONS_ENDED, Proof.REFUSED: SIGN_IN_REFUSED}


def measures_taken(state: State) -> list[str]:
    """Return the codes of the measures, in the order that a notice uses."""
    found = []
    if _are_done(state, LOCK):
        found.append(ACCOUNTS_LOCKED)
        if _are_done(state, PROVE):
            level = Proof.weakest(view.proof for view in _started_views(state, PROVE))
            found += [_BY_PROOF[level]] if level in _BY_PROOF else []
    if _are_done(state, SNAPSHOT):
        found.append(LOGS_KEPT)
    return found


def _are_done(state: State, action: str) -> bool:
    views = list(_started_views(state, action))
    return bool(views) and all(
        current_state(view) is StepState.DONE and view.counts.done for view in views
    )


def _started_views(state: State, action: str) -> Iterator[StepView]:
    """Yield the steps of an action that have begun and were not skipped."""
    for step in state.playbook.steps:
        view = state.steps.get(step.name)
        if step.action == action and view and view.state is not StepState.SKIPPED:
            yield view
