"""Headline of an incident, and the order of incidents by urgency.

The headline shows how many accounts are contained (locked), which work is open, and whether anybody
works on the incident.

Rules
- The headline is one line: accounts contained, accounts restored by an undo, people not notified,
  activity.
- Incidents are ordered by severity. First come incidents with unlocked accounts, then interrupted
  incidents (no process continues their work), incidents that wait for a person, running incidents,
  and finished incidents.
- The headline has counts and names of steps only, and no personal data.
"""

from dataclasses import dataclass
from enum import IntEnum

from standfast.playbook.actions.accounts_lock import LOCK
from standfast.playbook.model import StepKind
from standfast.playbook.run_state import State, StepView
from standfast.playbook.status.obstacles import Blocked
from standfast.playbook.status.progress import (
    can_begin,
    every_view,
    interrupted,
    is_notice,
    step_of,
    waits_for_a_person,
)
from standfast.plurals import counted
from standfast.records import Mode, StepState

INTERRUPTED = "interrupted"  # shown for a step that no process continues
_NOT_WANTED = (StepState.SKIPPED, StepState.REFUSED)


class Severity(IntEnum):
    """Urgency of an incident; the lowest number is the most urgent."""

    UNCONTAINED = 0  # accounts are unlocked, and no process locks them
    INTERRUPTED = 1
    WAITING = 2  # work waits for a person
    RUNNING = 3
    FINISHED = 4


@dataclass(frozen=True, kw_only=True)
class Headline:
    """State of an incident in one line, and how urgent it is."""

    text: str
    severity: Severity


def headline(state: State, causes: list[Blocked], *, is_over: bool) -> Headline:
    """Return the headline; `causes` are the obstacles that block steps."""
    activity, severity = _activity(state, causes, is_over=is_over)
    locks = [view for view in every_view(state) if _is_lock(state, view)]
    undos = [view for view in state.extra if view.is_undo]
    if locks and not undos and not state.is_closed and severity is not Severity.RUNNING:
        open_ = sum(_possibly_open_count(view) for view in locks if not view.is_accepted)
        severity = Severity.UNCONTAINED if open_ else severity
    parts = [_share(locks, "contained"), _share(undos, "undone"), _unnotified(state), activity]
    return Headline(text=", ".join(filter(None, parts)), severity=severity)


def is_contained(state: State) -> bool:
    """Return whether every lock step has ended and left no account unlocked.

    At least one account must be locked. Accounts whose lock was refused are ignored.
    """
    steps = [step.name for step in state.playbook.steps if step.action == LOCK]
    views = [view for view in state.steps.values() if view.step in steps]
    has_ended = len(views) == len(steps) and all(view.state.is_final for view in views)
    locks = [view for view in every_view(state) if _is_lock(state, view)]
    is_locked = any(view.counts.done for view in locks)
    return has_ended and is_locked and not any(_possibly_open_count(view) for view in locks)


def _activity(state: State, causes: list[Blocked], *, is_over: bool) -> tuple[str, Severity]:
    if state.is_closed:
        return "closed", Severity.FINISHED
    if state.mode is Mode.PLAN:
        return "planned only", Severity.WAITING
    nobody = f"{INTERRUPTED}, nobody is working on it, no `serve` runs"
    if state.is_stopped_or_closed:
        is_left = bool(interrupted(state))
        text = f"stopped, undo {nobody}" if is_left else "stopped"
        return text, Severity.INTERRUPTED if is_left else Severity.WAITING
    if is_over:
        return "nothing left to run", Severity.FINISHED
    if interrupted(state) or (not state.has_runner and any(can_begin(state, causes))):
        return nobody, Severity.INTERRUPTED
    if waits := _waits(state):
        return f"waits for {waits}", Severity.WAITING
    if causes:
        return f"blocked by `{causes[0].by}`", Severity.WAITING
    return "running", Severity.RUNNING


def _is_lock(state: State, view: StepView) -> bool:
    step = step_of(state.playbook, view)
    is_lock = step is not None and step.action == LOCK
    return is_lock and view.state not in _NOT_WANTED


def _possibly_open_count(view: StepView) -> int:
    """Return the number of accounts that are not certainly locked.

    Refused targets, such as protected accounts (which no playbook may lock), are left out.
    """
    return view.counts.under_way + view.counts.failed + view.counts.unknown


def _share(views: list[StepView], word: str) -> str:
    """Return a phrase such as "7 of 9 contained", or "" without targets."""
    total = sum(view.counts.total for view in views)
    return f"{sum(view.counts.done for view in views):,} of {total:,} {word}" if total else ""


def _unnotified(state: State) -> str:
    notices = [
        view
        for view in every_view(state)
        if is_notice(state, view) and view.state not in _NOT_WANTED
    ]
    number = sum(view.counts.total - view.counts.done for view in notices)
    return f"{counted(number, 'person', 'people')} not notified" if number else ""


def _waits(state: State) -> str:
    """Return a phrase with the numbers of awaited approvals and answers."""
    kinds = {"approval": 0, "answer": 0, "task": 0, "paused notice": 0}
    for view in every_view(state):
        if not waits_for_a_person(state, view):
            continue
        if view.is_paused:
            kinds["paused notice"] += 1
        elif view.state is StepState.ASKING:
            kinds["approval"] += 1
        else:
            step = step_of(state.playbook, view)
            kinds["answer" if step and step.kind is StepKind.DECIDE else "task"] += 1
    return " and ".join(counted(number, kind) for kind, number in kinds.items() if number)
