"""What comes next in a run of a playbook: from facts to moves, without a clock, a disk or a person.

Owns the rules of progress. Leaves keeping the facts to the ledger, carrying moves out to
operations, and the words for the operator to `standing`.

Rules
- `next_moves` is a function of its arguments alone, in the order of the file; asked twice, it says
  the same twice. A move names (step, round), so that applying it twice changes once.
- A need is met by a step that is done or skipped; by a partial one whose `on_partial` is `go_on`;
  and by any finished one of which a person said "go on".
- What a step came to is read from its effects as they are now: a late receipt betters a step that
  was already finished, and no move is needed for it.
- An effect that is unknown and will be looked up again (`settling`) keeps its step running. One
  that nobody can tell makes the step partial, never failed: it may have happened.
- A condition that cannot be evaluated blocks its step. It is neither skipped nor carried out.
- Halted, or in plan mode: no moves at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeAlias

from standfast.playbook import expression
from standfast.playbook.graph import in_order
from standfast.playbook.model import OnPartial, Playbook, Step, StepKind
from standfast.records import Json, JsonObject, Mode, StepState, utc


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The effects of one round of one step, by state."""

    planned: int = 0
    submitting: int = 0
    done: int = 0
    refused: int = 0
    failed: int = 0
    unknown: int = 0

    @property
    def total(self) -> int:
        return self.under_way + self.done + self.refused + self.failed + self.unknown

    @property
    def under_way(self) -> int:
        return self.planned + self.submitting


@dataclass(frozen=True, kw_only=True)
class StepView:
    """One step's latest round as the ledger has it; a step without a view is pending."""

    step: str
    round: int  # from 1; a retry is a round of its own
    state: StepState
    counts: Counts = Counts()
    settling: int = 0  # of the unknown ones, those that will be looked up again
    answer: str | None = None  # MANUAL, DECIDE
    due_at: datetime | None = None  # WAITING: when it is over
    asked: bool = False  # the approvers were paged
    approvals: int = 0  # signatures that verify
    approvals_needed: int = 0  # as fixed when planned; may exceed the playbook's (blast radius)
    is_refused: bool = False  # an approver said no
    is_accepted: bool = False  # a person said "go on" about what was not done

    def __post_init__(self) -> None:
        if self.round < 1:
            raise ValueError(f"step {self.step!r}: rounds count from 1, not {self.round}")
        if self.state is StepState.WAITING and self.due_at is None:
            raise ValueError(f"step {self.step!r} waits, but nothing says until when")
        if self.due_at is not None:
            object.__setattr__(self, "due_at", utc(self.due_at))


@dataclass(frozen=True, kw_only=True)
class State:
    """One incident at one moment: everything that the next move depends on."""

    playbook: Playbook
    mode: Mode
    inputs: Mapping[str, Json] = field(default_factory=dict)
    steps: Mapping[str, StepView] = field(default_factory=dict)  # latest round a playbook step
    extra: tuple[StepView, ...] = ()  # steps outside the playbook: an undo that was asked for
    is_halted: bool = False
    incident: str = "INCIDENT"  # its name in the commands that `standing` tells to type


@dataclass(frozen=True, kw_only=True)
class Expand:
    """Plan the step's effects; it then asks for approvals or runs."""

    step: str
    round: int


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Page the approvers, who have not been paged for this round yet."""

    step: str
    round: int


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """Put the instructions or the question before a person."""

    step: str
    round: int


@dataclass(frozen=True, kw_only=True)
class Wake:
    """Let the step wait until `due_at`."""

    step: str
    round: int
    due_at: datetime


@dataclass(frozen=True, kw_only=True)
class Finish:
    """Close the round in a final state; a skipped step is closed without ever being opened."""

    step: str
    round: int
    state: StepState
    reason: str  # for people; counts and rules, no personal data


Move: TypeAlias = Expand | Ask | Prompt | Wake | Finish


@dataclass(frozen=True, kw_only=True)
class Blocked:
    """A pending step that will not begin unless a person does something about `by`."""

    step: str
    by: str  # the step that is the cause; the step itself when its condition cannot be evaluated
    why: str
    what_to_do: str  # by a person, with the command to type


def next_moves(state: State, now: datetime) -> list[Move]:
    """Give every move that can be made now, in the order of the file, extra steps last.

    An empty list means: nothing to do until an effect, an answer, an approval or the clock changes
    something. Expects a playbook that `check` found sound.
    """
    now = utc(now)
    if state.is_halted or state.mode is Mode.PLAN:
        return []
    moves: list[Move | None] = []
    for step in state.playbook.steps:
        view = state.steps.get(step.name)
        moves.append(_begin(step, state, now) if view is None else _carry_on(step, view, now))
    moves.extend(_carry_on(None, view, now) for view in state.extra)
    return [move for move in moves if move is not None]


def blocked(state: State) -> list[Blocked]:
    """Give the pending steps that wait in vain, each with every step that is the cause."""
    causes: dict[str, list[Blocked]] = {}
    for step in in_order(state.playbook):
        if step.name in state.steps:
            continue
        found: dict[str, Blocked] = {}
        for need in step.needs:
            view = state.steps.get(need)
            if view is None:
                for cause in causes.get(need, []):
                    found[cause.by] = replace(cause, step=step.name)
            elif view.state.is_final and not is_met(state.playbook.step(need), view):
                found[need] = Blocked(
                    step=step.name, by=need, why=came_to(view), what_to_do=_mend(view, state)
                )
        if not found and are_needs_met(step, state):
            try:
                is_wanted(step, state)
            except ValueError as error:
                found[step.name] = Blocked(
                    step=step.name,
                    by=step.name,
                    why=f"its condition cannot be evaluated: {error}",
                    what_to_do=f"Read the condition of `{step.name}`; do its work by hand.",
                )
        causes[step.name] = list(found.values())
    return [cause for step in state.playbook.steps for cause in causes.get(step.name, [])]


def namespace(state: State) -> JsonObject:
    """Give the names that expressions see: `inputs`, `answers` and `steps`.

    A step that was skipped has the answer null. One that was not answered yet has none, so that
    naming it is an error.
    """
    answers: dict[str, Json] = {}
    steps: dict[str, Json] = {}
    for step in state.playbook.steps:
        view = state.steps.get(step.name)
        counts = view.counts if view else Counts()
        steps[step.name] = {
            "state": str(standing_state(view)) if view else "pending",
            "done": counts.done,
            "failed": counts.failed,
            "unknown": counts.unknown,
            "refused": counts.refused,
        }
        if view and view.state.is_final and step.kind in (StepKind.MANUAL, StepKind.DECIDE):
            answers[step.name] = view.answer
    return {"inputs": state.inputs, "answers": answers, "steps": steps}


def is_wanted(step: Step, state: State) -> bool:
    """Evaluate the step's condition; raise ValueError when it is not true or false."""
    if step.when is None:
        return True
    value = expression.parse(step.when).evaluate(namespace(state))
    if not isinstance(value, bool):
        # "no" is a text, and a text counts as true in Python: it must never start a step.
        raise ValueError("a condition must be true or false; compare the text with something")
    return value


def are_needs_met(step: Step, state: State) -> bool:
    """May the step begin, as far as other steps are concerned?"""
    for need in step.needs:
        view = state.steps.get(need)
        if view is None or not is_met(state.playbook.step(need), view):
            return False
    return True


def is_met(step: Step, view: StepView) -> bool:
    """Does this step let those begin that need it?"""
    if not view.state.is_final:
        return False
    if view.is_accepted:
        return True
    reached = standing_state(view)
    if reached is StepState.PARTIAL:
        return step.on_partial is OnPartial.GO_ON
    return reached in (StepState.DONE, StepState.SKIPPED)


def standing_state(view: StepView) -> StepState:
    """Give the state, bettered by what became known of the effects after the step had finished."""
    if view.state in (StepState.PARTIAL, StepState.FAILED) and view.counts.total:
        return outcome(view) or view.state
    return view.state


def outcome(view: StepView) -> StepState | None:
    """Give what the effects came to, or None while one of them is under way or to be looked up."""
    counts = view.counts
    if counts.under_way or min(view.settling, counts.unknown):
        return None
    if counts.done == counts.total:
        return StepState.DONE
    return StepState.PARTIAL if counts.done or counts.unknown else StepState.FAILED


def is_approved(step: Step | None, view: StepView) -> bool:
    """Does an asking step have the signatures it needs? At least one, or it would not be asking."""
    by_playbook = step.approval.count if step and step.approval else 0
    return view.approvals >= max(view.approvals_needed, by_playbook, 1)


def came_to(view: StepView) -> str:
    """Say in a few words what a step came to: `partial: 487 of 500 done, 13 failed`."""
    state = standing_state(view)
    if state is StepState.REFUSED:
        return "refused: an approver said no"
    return f"{state}: {tally(view.counts)}" if view.counts.total else str(state)


def tally(counts: Counts) -> str:
    """Say how many of the targets are done, and where the others stand."""
    others = {
        "failed": counts.failed,
        "refused": counts.refused,
        "unknown": counts.unknown,
        "under way": counts.under_way,
    }
    told = [f"{number} {name}" for name, number in others.items() if number]
    return ", ".join([f"{counts.done} of {counts.total} done", *told])


def _mend(view: StepView, state: State) -> str:
    """Say what a person can do about a finished step that holds others up."""
    retry = f"`standfast incident retry {state.incident} {view.step}`"
    go_on = f"`standfast incident accept {state.incident} {view.step}`"
    if view.state is StepState.REFUSED:
        return f"Talk to the approver; then ask again: {retry}, or go on without it: {go_on}."
    if view.counts.unknown:
        show = f"`standfast incident status {state.incident} --targets`"
        settle = f"`standfast incident settle {state.incident} EFFECT yes|no`"
        return (
            f"See what may have happened: {show}, and settle it: {settle}; "
            f"or go on with what is done: {go_on}."
        )
    return f"Try the rest again: {retry}, or go on with what is done: {go_on}."


def _begin(step: Step, state: State, now: datetime) -> Move | None:
    if not are_needs_met(step, state):
        return None
    try:
        wanted = is_wanted(step, state)
    except ValueError:
        return None  # `blocked` says so
    if not wanted:
        reason = f"not needed, because this is false: {step.when}"
        return Finish(step=step.name, round=1, state=StepState.SKIPPED, reason=reason)
    match step.kind:
        case StepKind.DO:
            return Expand(step=step.name, round=1)
        case StepKind.MANUAL | StepKind.DECIDE:
            return Prompt(step=step.name, round=1)
        case StepKind.WAIT:
            due_at = now + timedelta(seconds=step.wait_seconds)
            return Wake(step=step.name, round=1, due_at=due_at)


def _carry_on(step: Step | None, view: StepView, now: datetime) -> Move | None:
    """Give the move of a step that has begun; `step` is None for one outside the playbook."""
    match view.state:
        case StepState.ASKING if view.is_refused:
            return _finish(view, StepState.REFUSED, "an approver said no")
        case StepState.ASKING if view.counts.total and not is_approved(step, view):
            return None if view.asked else Ask(step=view.step, round=view.round)
        case StepState.ASKING | StepState.RUNNING:
            return _settle(view)
        case StepState.PROMPTED if view.answer is not None:
            return _finish(view, StepState.DONE, "answered")
        case StepState.WAITING if view.due_at is not None and view.due_at <= now:
            return _finish(view, StepState.DONE, "the time is over")
    return None


def _settle(view: StepView) -> Finish | None:
    reached = outcome(view)
    if reached is None:
        return None
    if not view.counts.total:
        # Nobody is woken for an approval of nothing, and nothing is not a failure.
        return _finish(view, StepState.DONE, "no targets")
    return _finish(view, reached, tally(view.counts))


def _finish(view: StepView, state: StepState, reason: str) -> Finish:
    return Finish(step=view.step, round=view.round, state=state, reason=reason)
