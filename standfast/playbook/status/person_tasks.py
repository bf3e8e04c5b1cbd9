"""Task of a person at a waiting step, with the command to type."""

from standfast.local_time import minute
from standfast.playbook.actions import ACTIONS
from standfast.playbook.model import TABLETOP_PREFIX, StepKind
from standfast.playbook.run_state import State, StepView
from standfast.playbook.status.obstacles import as_whom
from standfast.playbook.status.progress import step_of
from standfast.records import StepState

SHOWN = 16  # characters of a plan's digest that are shown and typed; enough to identify the plan
BY_HAND = 2  # rank of manual work, the least urgent


def describe_task(state: State, view: StepView) -> str:
    """Describe the task of a person at a waiting step, with the command."""
    step = step_of(state.playbook, view)
    if view.is_paused:
        notice = f"standfast notice {{}} {state.incident} {view.step}"
        return (
            f"`{view.step}` is paused: {view.counts.planned:,} are not notified. Resume it: "
            f"`{notice.format('resume')}`; cancel it: `{notice.format('stop')} --why TEXT`."
        )
    if view.state is StepState.PROMPTED and step:
        if state.playbook.name.startswith(TABLETOP_PREFIX):
            return f"Tabletop exercise: {step.title}. Continue: `standfast tabletop next`."
        answer = f"standfast incident answer {state.incident} {step.name}"
        speaker = as_whom(state, step.name)
        who = f" ({' or '.join(step.roles)})" if step.roles else ""
        if step.kind is StepKind.DECIDE:
            options = " or ".join(f"`{option}`" for option in step.options)
            word = '"ANSWER"' if any(" " in option for option in step.options) else "ANSWER"
            return f"{step.question} Answer {options}{who}: `{answer} {word}{speaker}`."
        command = f'`{answer} "RESULT"{speaker}`'
        says = who if step.by else ""  # the roles in `by` do the task; only those in `roles` answer
        by = f" ({' or '.join(step.by)})" if step.by else who
        return f"By hand{by}: {step.title}. When it is done{says}: {command}."
    who = " or ".join(step.approval.roles) if step and step.approval else ""
    if view.is_asked:
        paged = _who_is_next(state, view)
    elif state.has_runner:
        paged = ", who is paged now"
    else:
        paged = f" (not paged yet: `standfast incident resume {state.incident}` pages them)"
    if view.opens_at is not None:
        at = minute(view.opens_at, state.time_zone)
        return (
            f"`{view.step}` starts at {at} after a break-glass approval, unless somebody refuses: "
            f"`standfast incident approve {state.incident} {view.step} --refuse --as PERSON`."
            + ("" if state.has_runner else f" {how_to_continue(state)}")
        )
    exactly = f" --digest {view.digest[:SHOWN]}" if view.digest else ""
    approve = f"`standfast incident approve {state.incident} {view.step}{exactly} --as PERSON`"
    if view.approvals_needed > 1:
        wanted = f"{view.approvals_needed} approvals{f' of {who}' if who else ''}"
        return f"`{view.step}` waits for {wanted}{paged}. Each approver runs: {approve}."
    return (
        f"`{view.step}` waits for the approval of {who or 'a second person'}{paged}. "
        f"The approver runs: {approve}."
    )


def _who_is_next(state: State, view: StepView) -> str:
    """Describe the escalation that follows if nobody answers."""
    if view.escalates_at is not None:
        at = minute(view.escalates_at, state.time_zone)
        return f" (without an answer, the next people are paged at {at})"
    if not view.level:
        return ""
    step = step_of(state.playbook, view)
    action = ACTIONS.get(step.action or "") if step else None
    alone = ", or approve alone with --break-glass WHY"
    may_alone = action is not None and not action.is_irreversible
    return f" (everybody was paged; call them by phone{alone if may_alone else ''})"


def how_to_continue(state: State) -> str:
    """Describe how to continue an incident on which no process works."""
    if state.is_stopped_or_closed:  # resuming would continue everything, not only the undo
        undo = f"`standfast incident undo {state.incident} --all`"
        return f"No runner works on it. Continue: {undo}, or start `standfast serve`."
    return (
        f"No runner works on it. Continue: `standfast incident resume {state.incident}`, or "
        "start `standfast serve`."
    )


def urgency(state: State, view: StepView) -> int:
    """Return the rank of a waiting step; 0 is the most urgent.

    Questions come first because other steps depend on them, approvals next because they take a
    moment, manual work last because it may take days.
    """
    step = step_of(state.playbook, view)
    if view.state is StepState.PROMPTED:
        return 0 if step and step.kind is StepKind.DECIDE else BY_HAND
    return 1
