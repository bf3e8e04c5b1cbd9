"""The engine with an in-memory ledger, over random playbooks."""

import random
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from standfast.playbook.engine import Ask, Expand, Finish, Move, Prompt, Wake, is_wanted, next_moves
from standfast.playbook.model import OnPartial, Playbook, Step, StepKind
from standfast.playbook.run_state import Counts, State, StepView
from standfast.playbook.status.next_step import summarise_status
from standfast.playbook.status.obstacles import blocked
from standfast.records import Mode, StepState
from tests.playbook.build import NOON, playbook_of

MOST_TURNS = 500
MOST_ROUNDS = 3


@st.composite
def playbooks(draw: st.DrawFn) -> Playbook:
    """Draw a sound playbook: acyclic needs, steps in random file order."""
    texts: list[str] = []
    needs: set[str]
    decides: list[str] = []
    for number in range(draw(st.integers(1, 7))):
        name = f"s{number}"
        earlier = [f"s{n}" for n in range(number)]
        needs = draw(st.sets(st.sampled_from(earlier))) if earlier else set()
        parts = [f"title: T{number}", f"needs: [{', '.join(sorted(needs))}]"]
        asked = sorted(set(decides) & set(needs))
        is_conditional: bool = draw(st.booleans())
        if asked and is_conditional:
            parts.append(f"when: answers.{asked[0]} == 'b'")
        kind = draw(st.sampled_from(["do", "tell", "manual", "decide", "wait"]))
        if kind == "do":
            how = draw(st.sampled_from(["go_on", "hold"]))
            parts.append(f"do: accounts.lock, with: {{accounts: [x]}}, on_partial: {how}")
        elif kind == "tell":
            count = draw(st.integers(1, 2))
            parts.append("do: notices.send, with: {template: t, audience: a}")
            parts.append(f"approval: {{count: {count}}}")
        elif kind == "decide":
            decides.append(name)
            parts.append("decide: Q?, options: [a, b]")
        else:
            parts.append("manual: x" if kind == "manual" else "wait: 5m")
        texts.append(f"{name}: {{{', '.join(parts)}}}")
    draw(st.randoms(use_true_random=False)).shuffle(texts)
    return playbook_of("\n".join(texts))


@dataclass
class MemoryLedger:
    """Applies moves by compare-and-swap; chance decides the outcomes."""

    playbook: Playbook
    chance: random.Random
    people_help: bool
    corrections: int = 0  # how many answers people still correct
    now: datetime = NOON
    views: dict[str, StepView] = field(default_factory=dict)

    def state(self) -> State:
        return State(
            playbook=self.playbook,
            mode=Mode.LIVE,
            inputs={"accounts": ["x"], "reason": ""},
            steps=dict(self.views),
        )

    def apply(self, move: Move) -> None:
        view = self.views.get(move.step)
        is_new = view is None or view.round < move.round
        match move:
            case Expand() if is_new:
                targets = self.chance.randint(0, 4)
                needs_approval = self.playbook.step(move.step).approval is not None
                state = StepState.ASKING if needs_approval else StepState.RUNNING
                self.put(move, state, counts=Counts(planned=targets))
            case Prompt() if is_new:
                self.put(move, StepState.PROMPTED)
            case Wake() if is_new:
                self.put(move, StepState.WAITING, due_at=move.due_at)
            case Ask() if view and view.round == move.round:
                self.views[move.step] = replace(view, is_asked=True)
            case Finish() if is_new:
                self.put(move, move.state)
            case Finish() if view and view.round == move.round and not view.state.is_final:
                self.views[move.step] = replace(view, state=move.state)

    def put(self, move: Move, state: StepState, **facts: Any) -> None:
        made: dict[str, Any] = {"step": move.step, "round": move.round, "state": state}
        self.views[move.step] = StepView(**(made | facts))

    def the_world_moves(self) -> bool:
        """Change one external fact; return False if none is left."""
        names = list(self.views)
        self.chance.shuffle(names)
        for name in names:
            changed = self.changed(self.views[name])
            if changed is not None:
                self.views[name] = changed
                return True
        return False

    def changed(self, view: StepView) -> StepView | None:
        counts = view.counts
        is_open = view.state is StepState.RUNNING or (
            view.state is StepState.ASKING
            and view.approvals >= self.approvals_needed(view)
            and not view.is_refused
        )
        if is_open and counts.planned:
            ended = self.chance.choice(["done", "done", "done", "failed", "refused", "unknown"])
            number = getattr(counts, ended) + 1
            settling = view.settling + (ended == "unknown" and self.chance.random() < 0.5)
            counts = replace(counts, planned=counts.planned - 1, **{ended: number})
            return replace(view, counts=counts, settling=settling)
        if is_open and view.settling:
            counts = replace(counts, unknown=counts.unknown - 1, done=counts.done + 1)
            return replace(view, counts=counts, settling=view.settling - 1)
        if view.state is StepState.WAITING and view.due_at and view.due_at > self.now:
            self.now += timedelta(minutes=5)
            return view
        if not self.people_help:
            return None
        if view.state is StepState.PROMPTED and view.answer is None:
            return replace(view, answer=self.chance.choice("ab"))
        if view.state is StepState.ASKING and view.is_asked and not is_open and not view.is_refused:
            if self.chance.random() < 0.2:
                return replace(view, is_refused=True)
            return replace(view, approvals=view.approvals + 1)
        if view.state is StepState.DONE and view.answer and self.corrections:
            self.corrections -= 1
            answer = "b" if view.answer == "a" else "a"
            return replace(view, round=view.round + 1, state=StepState.PROMPTED, answer=answer)
        step = self.playbook.step(view.step)
        if view.state.is_final and not may_follow(step, view):
            if view.round < MOST_ROUNDS and step.kind is StepKind.DO and self.chance.random() < 0.7:
                return self.retried(view)
            return replace(view, is_accepted=True)
        return None

    def retried(self, view: StepView) -> StepView:
        needs_approval = self.playbook.step(view.step).approval is not None
        return StepView(
            step=view.step,
            round=view.round + 1,
            state=StepState.ASKING if needs_approval else StepState.RUNNING,
            counts=Counts(planned=view.counts.total - view.counts.done),
        )

    def approvals_needed(self, view: StepView) -> int:
        approval = self.playbook.step(view.step).approval
        return approval.count if approval else 0


def may_follow(step: Step, view: StepView) -> bool:
    """Return whether a step's dependents may begin, without the engine."""
    match view.state:
        case StepState.DONE | StepState.SKIPPED:
            return True
        case StepState.PARTIAL:
            return view.is_accepted or step.on_partial is OnPartial.GO_ON
        case StepState.FAILED | StepState.REFUSED:
            return view.is_accepted
    return False


def drive(ledger: MemoryLedger) -> None:
    """Alternate engine and world until neither has a move left."""
    for _ in range(MOST_TURNS):
        state = ledger.state()
        moves = next_moves(state, ledger.now)
        assert moves == next_moves(state, ledger.now)
        for move in moves:
            assert_is_allowed(move, state)
        # Two runners see the same facts, and each applies every move.
        for move in [*moves, *moves]:
            ledger.apply(move)
        if moves:
            assert ledger.state() != state, "a move that changes nothing would be made for ever"
        elif not ledger.the_world_moves():
            return
    raise AssertionError(f"no end after {MOST_TURNS} turns")


def assert_is_allowed(move: Move, state: State) -> None:
    step = state.playbook.step(move.step)
    view = state.steps.get(move.step)
    if view is None or (view.state is StepState.SKIPPED and move.round > view.round):
        for need in step.needs:
            assert need in state.steps, f"{move} before {need} began"
            assert may_follow(state.playbook.step(need), state.steps[need]), f"{move} too early"
    else:
        assert move.round == view.round
    if isinstance(move, Finish) and move.state is StepState.DONE and step.approval:
        assert view is not None
        assert not view.is_refused
        assert view.approvals >= step.approval.count or not view.counts.total


@given(playbooks(), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_playbooks_end_when_people_answer(playbook: Playbook, chance: random.Random) -> None:
    ledger = MemoryLedger(playbook=playbook, chance=chance, people_help=True)
    drive(ledger)
    assert all(ledger.views[step.name].state.is_final for step in playbook.steps)
    found = summarise_status(ledger.state())
    assert (found.is_over, found.is_busy, found.waits_for_people) == (True, False, False)
    assert blocked(ledger.state()) == []


@given(playbooks(), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_corrected_answers_reach_a_consistent_end(
    playbook: Playbook, chance: random.Random
) -> None:
    ledger = MemoryLedger(playbook=playbook, chance=chance, people_help=True, corrections=3)
    drive(ledger)
    state = ledger.state()
    assert summarise_status(state).is_over
    for step in playbook.steps:
        view = ledger.views[step.name]
        assert view.state.is_final
        if view.state is StepState.SKIPPED:
            assert not is_wanted(step, state)


@given(playbooks(), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_playbooks_without_people_name_who_is_missing(
    playbook: Playbook, chance: random.Random
) -> None:
    ledger = MemoryLedger(playbook=playbook, chance=chance, people_help=False)
    drive(ledger)
    found = summarise_status(ledger.state())
    assert not found.is_busy
    assert found.is_over is not found.waits_for_people
    if found.waits_for_people:
        assert "Nothing to do now" not in found.next_step


@given(playbooks(), st.randoms(use_true_random=False), st.booleans())
@settings(max_examples=50, deadline=None)
def test_what_holds_a_step_up_is_always_named(
    playbook: Playbook, chance: random.Random, people_help: bool
) -> None:
    ledger = MemoryLedger(playbook=playbook, chance=chance, people_help=people_help)
    drive(ledger)
    state = ledger.state()
    held = {one.step for one in blocked(state)}
    for step in playbook.steps:
        if step.name in state.steps:
            assert step.name not in held
            continue
        waits_for = [need for need in step.needs if need not in state.steps]
        open_needs = [
            need
            for need in step.needs
            if need in state.steps and not state.steps[need].state.is_final
        ]
        assert step.name in held or waits_for or open_needs
