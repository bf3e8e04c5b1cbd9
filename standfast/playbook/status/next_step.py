"""Next step of an incident, as one text for the operator.

    summarise_status(state).next_step
    # "… Answer `yes` or `no`: `standfast incident answer inc-2026-0001 ask ANSWER`."

`engine` has the rules of progress; this module writes the sentence that an operator reads.

Rules
- Every incident has exactly one next step, even when it is closed. It is the first of: interrupted
  work (which no process continues), a step that blocks others, a question, an approval, manual
  work, work in progress.
- An interrupted notice comes after questions and approvals, because an answer also continues the
  interrupted notice.
- A suggested command is complete, except for values that only a person knows: PERSON, RESULT and
  EFFECT are placeholders.
- The text has counts and names of steps only, no personal data.
- A command to approve names the plan by its digest (a SHA-256), so that an approver signs the plan
  that was shown.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from standfast.local_time import minute
from standfast.playbook.engine import current_state, is_approved, is_behind, is_pending, tally
from standfast.playbook.model import Step
from standfast.playbook.run_state import State, StepView
from standfast.playbook.status.headline import Severity, headline
from standfast.playbook.status.obstacles import (
    Blocked,
    as_whom,
    blocked,
    describe_state,
    letter_instructions,
)
from standfast.playbook.status.person_tasks import (
    BY_HAND,
    describe_task,
    how_to_continue,
    urgency,
)
from standfast.playbook.status.progress import (
    can_begin,
    every_view,
    interrupted,
    is_notice,
    is_under_way,
    step_of,
    waits_for_a_person,
)
from standfast.playbook.status.unstarted_work import (
    join_in_sentence,
    next_step_when_stopped,
    signed,
)
from standfast.plurals import counted
from standfast.records import Mode, StepState


@dataclass(frozen=True, kw_only=True)
class StatusSummary:
    """The status of an incident, for people."""

    is_over: bool  # every step has ended, and no act on a target is in progress
    is_busy: bool  # work continues without a person: acts on targets, a timer, a next step
    waits_for_people: bool  # work continues only after a person acts
    is_partial: bool  # a finished step has targets that were not done
    is_failed: bool  # a finished step reached no target, or was refused
    headline: str  # one line: contained, undone, not notified, activity
    severity: Severity
    next_step: str
    prompted_step: Step | None = None  # the step that `next_step` asks a person to answer


@dataclass(frozen=True, kw_only=True)
class LegalClocks:
    """Legal duties to notify somebody, which change an incident's next step.

    A legal clock is the running deadline of one duty.
    """

    missed: int = 0
    due_now: int = 0  # due "without delay", which is no date
    next_due: datetime | None = None  # the earliest due date of the other duties

    @property
    def has_open_obligations(self) -> bool:
        """Return whether a duty to notify is not met yet."""
        return bool(self.missed or self.due_now or self.next_due)

    @property
    def owed(self) -> list[str]:
        """Describe how many deadlines were missed, and how many are due now."""
        parts = [f"{counted(self.missed, 'legal clock')} missed"] if self.missed else []
        now = f"{counted(self.due_now, 'legal clock')} due now (without delay)"
        return [*parts, now] if self.due_now else parts


_NO_CLOCKS = LegalClocks()


def summarise_status(state: State, clocks: LegalClocks = _NO_CLOCKS) -> StatusSummary:
    """Describe the status of the incident; the present time is not needed.

    `is_busy` and `waits_for_people` are both true if one branch runs and another waits. `clocks`
    change only the severity and the next step: a person must see a missed legal deadline before
    closing the incident.
    """
    views = every_view(state)
    reached = [current_state(view) for view in views]
    causes = blocked(state)
    is_over = (
        not any(is_pending(step, state) for step in state.playbook.steps)
        and all(view.state.is_final for view in views)
        and not any(is_under_way(view) for view in views)
        and not any(is_behind(step, state) for step in state.playbook.steps)
    )
    waits = [view for view in views if waits_for_a_person(state, view)]
    undos = [view for view in state.extra if view.is_undo]
    is_still = state.is_stopped_or_closed or state.mode is Mode.PLAN
    is_undoing = not state.is_closed and any(_is_moving(state, view) for view in undos)
    is_busy = (
        is_undoing
        if is_still
        else any(_is_moving(state, view) for view in views) or any(can_begin(state, causes))
    )
    head = headline(state, causes, is_over=is_over)
    return StatusSummary(
        is_over=is_over,
        is_busy=is_busy,
        waits_for_people=not is_over and bool(waits or causes or is_still),
        is_partial=StepState.PARTIAL in reached,
        is_failed=StepState.FAILED in reached or StepState.REFUSED in reached,
        headline=head.text,
        severity=min(head.severity, Severity.WAITING) if clocks.missed else head.severity,
        next_step=_next_step(state, causes, waits, clocks, is_over=is_over),
        prompted_step=_prompted_step(state, waits) if not (is_still or is_over or causes) else None,
    )


def _prompted_step(state: State, waits: list[StepView]) -> Step | None:
    for view in sorted(waits, key=lambda view: urgency(state, view)):
        return step_of(state.playbook, view) if view.state is StepState.PROMPTED else None
    return None


def _next_step(
    state: State,
    causes: list[Blocked],
    waits: list[StepView],
    clocks: LegalClocks,
    *,
    is_over: bool,
) -> str:
    if state.is_closed and clocks.has_open_obligations:
        return when_closed(state.incident, clocks, state.time_zone)
    if state.is_closed:
        show = f"`standfast audit show {state.incident}`"
        return f"Closed. Timeline: {show}."
    if state.mode is Mode.PLAN:
        carry_out = f"`standfast incident carry-out {state.incident}`"
        return f"This is only a plan: nothing was done. Open it live: {carry_out}."
    if state.is_stopped_or_closed:
        return _when_stopped(state)
    if is_over:
        return _when_over(state, clocks)
    if stopped_short := _when_interrupted(state, causes, waits):
        return stopped_short
    by_hand = [view for view in state.extra if view.state is StepState.ASKING]
    if causes and not by_hand:  # a task that a person just requested is shown before an obstacle
        cause = causes[0]
        held_up = [other.step for other in causes if other.by == cause.by]
        return (
            f"`{cause.by}` blocks {_join_names(held_up)} ({cause.why}). {cause.what_to_do}"
            if held_up != [cause.by]
            else f"`{cause.by}` cannot start: {cause.why}. {cause.what_to_do}"
        )
    for view in sorted(by_hand if causes else waits, key=lambda view: urgency(state, view)):
        return describe_task(state, view)
    return _while_busy(state)


def _when_interrupted(state: State, causes: list[Blocked], waits: list[StepView]) -> str:
    """Describe work that no process continues.

    Return "" if there is no such work, or if a question or an approval comes first.
    """
    for view in interrupted(state):
        if is_notice(state, view) and any(urgency(state, wait) < BY_HAND for wait in waits):
            return ""
        if view.after_canary and view.after_canary == view.counts.under_way:
            return _while_canary(state, view)
        counts = view.counts
        unknown = f", {counts.unknown:,} unknown" if counts.unknown else ""
        looks = "" if counts.under_way else f" {_looked_up(state, view)}"
        so_far = f"is interrupted: {counts.done:,} of {counts.total:,} done{unknown}"
        if counts.planned == counts.total:
            so_far = f"has not started: {counts.total:,} to do"
        return f"`{view.step}` {so_far}. {how_to_continue(state)}{looks}"
    is_asking = any(view.state is StepState.ASKING for view in state.extra)
    if state.has_runner or state.is_stopped_or_closed or is_asking:
        return ""
    for step in can_begin(state, causes):
        begun = (
            "does not cover the added targets" if step.name in state.steps else "has not started"
        )
        return f"`{step.name}` {begun}. {how_to_continue(state)}"
    return ""


def _when_stopped(state: State) -> str:
    """Describe the next step of a stopped incident: undo, resume or close."""
    undos = [view for view in state.extra if view.is_undo]
    for view in undos:
        if waits_for_a_person(state, view) and not view.is_paused:
            return describe_task(state, view)
    if text := _when_interrupted(state, [], []):
        return text
    if moving := tuple(view for view in undos if _is_moving(state, view)):
        return _while_busy(replace(state, steps={}, extra=moving))
    return next_step_when_stopped(state)


def when_closed(incident: str, clocks: LegalClocks, time_zone: str) -> str:
    """Describe the open legal duties of a closed incident, with the command."""
    text = clocks.owed
    if clocks.next_due:
        text.append(f"the next legal clock is due {minute(clocks.next_due, time_zone)}")
    return f"Closed, but legal obligations remain: {', '.join(text)}. {_show_obligations(incident)}"


def _show_obligations(incident: str) -> str:
    return f"Show who must be notified: `standfast deadline list {incident}`."


def _when_over(state: State, clocks: LegalClocks) -> str:
    close = f"`standfast incident close {state.incident}{signed(state)}`"
    views = every_view(state)
    owed = "".join(_review(state, view) for view in views if view.is_unreviewed)
    if clocks.owed:
        owed += f"{', '.join(clocks.owed)}. {_show_obligations(state.incident)} "
    short = [
        view
        for view in views
        if current_state(view) in (StepState.PARTIAL, StepState.FAILED, StepState.REFUSED)
    ]
    if not short:
        if unrestored := _describe_unrestored(state):
            rest = f"{unrestored} {owed}Or close the incident as it is: {close}."
            return f"Every step is done, but {rest}"
        if owed:
            return f"Every step is done, but: {owed}Then close it: {close}."
        return f"Everything is done. Close it: {close}."
    worst = min(short, key=lambda view: current_state(view) is StepState.PARTIAL)
    show = f"`standfast incident status {state.incident} --targets`"
    speaker = as_whom(state, worst.step)
    again = f"`standfast incident retry {state.incident} {worst.step}{speaker}`"
    text = f"Nothing is left to run, but `{worst.step}` is {describe_state(worst)}. "
    if _is_worth_another_try(worst):
        return text + f"Retry the rest: {again}. Show each target with its reason: {show}."
    posting = "".join(dict.fromkeys(letter_instructions(state, view) for view in short))
    return (
        text + f"{owed}{posting}Show each target with its reason: {show}; then close it: {close}."
    )


def _review(state: State, view: StepView) -> str:
    return (
        f"`{view.step}` ran after the break-glass approval of one person. Another person reviews "
        f"it: `standfast incident approve {state.incident} {view.step} --as PERSON`, or the same "
        "with --refuse. "
    )


def _describe_unrestored(state: State) -> str:
    """Describe the targets that an undo did not restore; empty if none."""
    if not state.unrestored_count:
        return ""
    undo = f"standfast incident undo {state.incident} --all"
    stay = counted(state.unrestored_count, "target is not restored", "targets are not restored")
    again = f"`{undo}{signed(state)}`"
    return f"{stay}. See why: `{undo} --plan`; restore what can be restored: {again}."


def _is_worth_another_try(view: StepView) -> bool:
    """Return whether a failure remains that nobody has accepted.

    Targets that a rule refused are ignored: a retry would refuse them again.
    """
    could_not_begin = current_state(view) is StepState.FAILED and not view.counts.total
    return not view.is_accepted and (view.counts.failed > 0 or could_not_begin)


def _while_busy(state: State) -> str:
    views = every_view(state)
    for view in views:
        if view.after_canary and view.after_canary == view.counts.under_way:
            return _while_canary(state, view)
    for view in filter(is_under_way, views):
        looks = "" if view.counts.under_way else f" {_looked_up(state, view)}"
        return f"Nothing to do now: `{view.step}` is running, {tally(view.counts)}.{looks}"
    for view in views:
        if view.state is StepState.WAITING and view.due_at:
            until = minute(view.due_at, state.time_zone)
            waits = f"Nothing to do now: `{view.step}` waits until {until}."
            return waits if state.has_runner else f"{waits} {how_to_continue(state)}"
    return f"Nothing to do now: the next step of {state.incident} begins in a moment."


def _while_canary(state: State, view: StepView) -> str:
    return (
        f"`{view.step}`: the first {view.counts.done:,} messages are sent; the other "
        f"{view.after_canary:,} follow when the first are delivered and the pause is over. "
        + ("" if state.has_runner else f"{how_to_continue(state)} ")
        + f"Show it: `standfast notice status {state.incident}`; send now: `standfast notice go "
        f"{state.incident} {view.step}`."
    )


def _looked_up(state: State, view: StepView) -> str:
    """Describe how unknown outcomes are looked up, and how to continue."""
    when = "automatically" if state.has_runner else "then"
    looked_up = f"Unknown outcomes are looked up again {when}"
    if view.state is not StepState.RUNNING:
        return f"{looked_up}."
    accept = f"`standfast incident accept {state.incident} {view.step}{as_whom(state, view.step)}`"
    return f"{looked_up}. To continue without them: {accept}."


def _is_moving(state: State, view: StepView) -> bool:
    if view.state is StepState.ASKING:
        return is_approved(step_of(state.playbook, view), view) or not view.is_asked
    if view.state is StepState.PROMPTED:
        return view.answer is not None
    if view.is_paused:
        return False
    return not view.state.is_final or is_under_way(view)


def _join_names(names: list[str]) -> str:
    return join_in_sentence(f"`{name}`" for name in names)
