from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from standfast.playbook.engine import (
    Ask,
    Escalate,
    Expand,
    Finish,
    Move,
    Open,
    Prompt,
    Wake,
    namespace,
    next_moves,
)
from standfast.playbook.model import Playbook
from standfast.playbook.run_state import Counts, StepView, merged
from standfast.playbook.status.obstacles import blocked
from standfast.records import Mode, StepState
from tests.playbook.build import NOON, playbook_of, state_of, view

S = StepState


@pytest.fixture
def playbook() -> Playbook:
    return playbook_of(
        """
        logs: {title: Logs, do: evidence.snapshot}
        lock: {title: Lock, do: accounts.lock, with: {accounts: "{{ inputs.accounts }}"}}
        ask: {title: Ask, needs: [lock], decide: "Well?", options: ["yes", "no"]}
        tell:
          title: Tell
          needs: [ask]
          when: answers.ask == "yes"
          do: notices.send
          with: {template: t, audience: a}
          approval: {count: 2}
        rest: {title: Rest, needs: [tell], wait: 30m}
        look: {title: Look, needs: [rest], manual: Look.}
        """
    )


LOCKED = view("lock", S.DONE, done=1)
SAID_YES = view("ask", S.DONE, answer="yes")


def test_independent_steps_begin_in_file_order(
    playbook: Playbook,
) -> None:
    moves = next_moves(state_of(playbook), NOON)
    assert moves == [Expand(step="logs", round=1), Expand(step="lock", round=1)]


def test_break_glass_approval_opens_step_on_time(playbook: Playbook) -> None:
    asking = view("tell", S.ASKING, planned=3, is_asked=True, opens_at=NOON)
    state = state_of(playbook, view("logs", S.DONE), LOCKED, SAID_YES, asking)
    assert next_moves(state, NOON - timedelta(seconds=1)) == []
    assert next_moves(state, NOON) == [Open(step="tell", round=1)]


def test_unneeded_failed_step_holds_nothing_up(playbook: Playbook) -> None:
    state = state_of(playbook, view("logs", S.FAILED, failed=3), LOCKED)
    assert next_moves(state, NOON) == [Prompt(step="ask", round=1)]
    assert blocked(state) == []


def test_step_runs_until_all_effects_are_known(playbook: Playbook) -> None:
    for counts in (
        {"planned": 1},
        {"submitting": 1},
        {"done": 5, "unknown": 1, "settling": 1},
    ):
        state = state_of(playbook, view("logs", S.DONE), view("lock", S.RUNNING, **counts))
        assert next_moves(state, NOON) == []


@pytest.mark.parametrize(
    ("counts", "reached", "reason"),
    [
        ({}, S.DONE, "no targets"),
        ({"done": 5}, S.DONE, "5 of 5 done"),
        ({"done": 4, "failed": 1}, S.PARTIAL, "4 of 5 done, 1 failed"),
        ({"done": 4, "unknown": 1}, S.PARTIAL, "4 of 5 done, 1 unknown"),
        ({"failed": 3, "refused": 2}, S.FAILED, "0 of 5 done, 3 failed, 2 refused"),
        # It may have happened, so the text must not deny it.
        ({"failed": 4, "unknown": 1}, S.PARTIAL, "0 of 5 done, 4 failed, 1 unknown"),
    ],
)
def test_a_step_ends_as_its_effects_did(
    playbook: Playbook, counts: dict[str, int], reached: StepState, reason: str
) -> None:
    state = state_of(playbook, view("logs", S.DONE), view("lock", S.RUNNING, **counts))
    expected = Finish(step="lock", round=1, state=reached, reason=reason)
    assert next_moves(state, NOON) == [expected]


def test_false_condition_skips_only_its_step(
    playbook: Playbook,
) -> None:
    said_no = view("ask", S.DONE, answer="no")
    state = state_of(playbook, view("logs", S.DONE), LOCKED, said_no)
    (move,) = next_moves(state, NOON)
    assert isinstance(move, Finish)
    assert (move.step, move.state) == ("tell", S.SKIPPED)
    state = state_of(playbook, view("logs", S.DONE), LOCKED, said_no, view("tell", S.SKIPPED))
    assert next_moves(state, NOON) == [
        Wake(step="rest", round=1, due_at=NOON + timedelta(minutes=30))
    ]


def asking(**facts: object) -> StepView:
    return view("tell", S.ASKING, **({"planned": 9} | facts))


def test_approvers_are_paged_once_before_the_effects(
    playbook: Playbook,
) -> None:
    begun = (view("logs", S.DONE), LOCKED, SAID_YES)
    assert next_moves(state_of(playbook, *begun), NOON) == [Expand(step="tell", round=1)]
    assert next_moves(state_of(playbook, *begun, asking()), NOON) == [Ask(step="tell", round=1)]
    for paged in (asking(is_asked=True), asking(is_asked=True, approvals=1)):
        assert next_moves(state_of(playbook, *begun, paged), NOON) == []
    signed = asking(is_asked=True, approvals=2, planned=0, done=9)
    (move,) = next_moves(state_of(playbook, *begun, signed), NOON)
    assert move == Finish(step="tell", round=1, state=S.DONE, reason="9 of 9 done")


def test_too_few_signatures_finish_nothing(
    playbook: Playbook,
) -> None:
    strange = asking(is_asked=True, approvals=1, planned=0, done=9)
    state = state_of(playbook, view("logs", S.DONE), LOCKED, SAID_YES, strange)
    assert next_moves(state, NOON) == []


def test_plan_may_need_more_signatures_than_playbook(playbook: Playbook) -> None:
    wide = view("lock", S.ASKING, planned=900, approvals_needed=1)
    state = state_of(playbook, view("logs", S.DONE), wide)
    assert next_moves(state, NOON) == [Ask(step="lock", round=1)]
    half_signed = replace(
        wide, is_asked=True, approvals=1, approvals_needed=2, counts=Counts(done=9)
    )
    assert next_moves(state_of(playbook, view("logs", S.DONE), half_signed), NOON) == []


def test_refusal_overrides_an_earlier_approval(playbook: Playbook) -> None:
    refused = asking(is_asked=True, approvals=2, is_refused=True)
    state = state_of(playbook, view("logs", S.DONE), LOCKED, SAID_YES, refused)
    (move,) = next_moves(state, NOON)
    assert isinstance(move, Finish)
    assert (move.step, move.state) == ("tell", S.REFUSED)


def test_nobody_is_woken_to_approve_nothing(playbook: Playbook) -> None:
    state = state_of(playbook, view("logs", S.DONE), LOCKED, SAID_YES, asking(planned=0))
    assert next_moves(state, NOON) == [
        Finish(step="tell", round=1, state=S.DONE, reason="no targets")
    ]


def test_prompt_ends_by_answer_and_wait_by_time(playbook: Playbook) -> None:
    done = (view("logs", S.DONE), LOCKED, SAID_YES, view("tell", S.DONE, done=9))
    waiting = view("rest", S.WAITING, due_at=NOON)
    state = state_of(playbook, *done, waiting)
    assert next_moves(state, NOON - timedelta(seconds=1)) == []
    (move,) = next_moves(state, NOON)
    assert move == Finish(step="rest", round=1, state=S.DONE, reason="the time is over")

    prompted = state_of(playbook, *done, view("rest", S.DONE), view("look", S.PROMPTED))
    assert next_moves(prompted, NOON) == []
    answered = view("look", S.PROMPTED, answer="all quiet")
    (move,) = next_moves(state_of(playbook, *done, view("rest", S.DONE), answered), NOON)
    assert move == Finish(step="look", round=1, state=S.DONE, reason="answered")


def test_moves_carry_the_round_of_the_view(playbook: Playbook) -> None:
    retried = view("lock", S.RUNNING, round=3, done=2)
    (move,) = next_moves(state_of(playbook, view("logs", S.DONE), retried), NOON)
    assert isinstance(move, Finish)
    assert move.round == 3


def test_halted_or_in_plan_mode_nothing_moves(playbook: Playbook) -> None:
    assert next_moves(state_of(playbook, is_stopped_or_closed=True), NOON) == []
    assert next_moves(state_of(playbook, mode=Mode.PLAN), NOON) == []
    assert next_moves(state_of(playbook, mode=Mode.EXERCISE), NOON) != []


def test_added_step_is_asked_and_ended_like_others(
    playbook: Playbook,
) -> None:
    begun = (view("logs", S.DONE), view("lock", S.RUNNING, planned=1))
    undo = view("undo:lock", S.ASKING, planned=1, approvals_needed=1)
    state = state_of(playbook, *begun, extra=(undo,))
    assert next_moves(state, NOON) == [Ask(step="undo:lock", round=1)]
    done = view("undo:lock", S.RUNNING, done=1)
    assert next_moves(state_of(playbook, *begun, extra=(done,)), NOON) == [
        Finish(step="undo:lock", round=1, state=S.DONE, reason="1 of 1 done")
    ]


HOLDING = """
tell:
  title: Tell
  do: notices.send
  with: {template: t, audience: a}
  approval: {none_because: test}
  on_partial: HOW
next: {title: Next, needs: [tell], manual: x}
last: {title: Last, needs: [next], manual: x}
"""


def test_partial_step_continues_or_holds_as_declared() -> None:
    partial = view("tell", S.PARTIAL, done=8, failed=1)
    going_on = state_of(playbook_of(HOLDING.replace("HOW", "go_on")), partial)
    assert next_moves(going_on, NOON) == [Prompt(step="next", round=1)]
    assert blocked(going_on) == []

    held = state_of(playbook_of(HOLDING.replace("HOW", "hold")), partial)
    assert next_moves(held, NOON) == []
    assert [(one.step, one.by) for one in blocked(held)] == [("next", "tell"), ("last", "tell")]
    (first, _) = blocked(held)
    assert first.why == "partial: 8 of 9 done, 1 failed"
    assert "standfast incident retry 7 tell" in first.what_to_do


@pytest.mark.parametrize("reached", [S.PARTIAL, S.FAILED, S.REFUSED])
def test_person_may_accept_any_ended_step(reached: StepState) -> None:
    playbook = playbook_of(HOLDING.replace("HOW", "hold"))
    assert next_moves(state_of(playbook, view("tell", reached, failed=1)), NOON) == []
    accepted = view("tell", reached, failed=1, is_accepted=True)
    assert next_moves(state_of(playbook, accepted), NOON) == [Prompt(step="next", round=1)]


def test_running_step_cannot_be_accepted() -> None:
    playbook = playbook_of(HOLDING.replace("HOW", "hold"))
    running = view("tell", S.RUNNING, planned=1, is_accepted=True)
    assert next_moves(state_of(playbook, running), NOON) == []


def test_late_receipt_improves_an_ended_step() -> None:
    playbook = playbook_of(HOLDING.replace("HOW", "hold"))
    late = view("tell", S.PARTIAL, done=9)
    assert next_moves(state_of(playbook, late), NOON) == [Prompt(step="next", round=1)]
    again = view("tell", S.PARTIAL, done=8, planned=1)
    assert next_moves(state_of(playbook, again), NOON) == []


def test_failed_planning_holds_dependent_steps() -> None:
    playbook = playbook_of(HOLDING.replace("HOW", "go_on"))
    failed = state_of(playbook, view("tell", S.FAILED))
    assert next_moves(failed, NOON) == []
    assert [(one.step, one.by) for one in blocked(failed)] == [("next", "tell"), ("last", "tell")]


def test_empty_notice_is_uncounted_until_accepted() -> None:
    playbook = playbook_of(HOLDING.replace("HOW", "go_on"))
    empty = view("tell", S.FAILED)
    assert state_of(playbook, empty).uncounted == ("tell",)
    assert state_of(playbook, replace(empty, is_accepted=True)).uncounted == ()


def test_unevaluable_condition_blocks_its_step() -> None:
    playbook = playbook_of(
        "a: {title: A, manual: x}\nb: {title: B, needs: [a], manual: x, when: answers.a}\n"
        "c: {title: C, needs: [b], manual: x}"
    )
    state = state_of(playbook, view("a", S.DONE, answer="no"))
    assert next_moves(state, NOON) == []
    assert [(one.step, one.by) for one in blocked(state)] == [("b", "b"), ("c", "b")]
    assert "cannot be evaluated" in blocked(state)[0].why


def test_expressions_see_inputs_answers_and_facts(playbook: Playbook) -> None:
    prompted = view("ask", S.PROMPTED, answer="yes")
    names = namespace(state_of(playbook, view("lock", S.PARTIAL, done=4, refused=1), prompted))
    assert names["answers"] == {}  # not before the step has ended
    steps = names["steps"]
    assert isinstance(steps, dict)
    assert steps["lock"] == {
        "state": "partial",
        "done": 4,
        "failed": 0,
        "unknown": 0,
        "refused": 1,
    }
    assert steps["tell"]["state"] == "pending"
    skipped = namespace(state_of(playbook, view("ask", S.SKIPPED)))
    assert skipped["answers"] == {"ask": None}


def test_impossible_view_is_refused() -> None:
    with pytest.raises(ValueError, match="rounds count from 1"):
        StepView(step="a", round=0, state=S.RUNNING)
    with pytest.raises(ValueError, match="without an end"):
        StepView(step="a", round=1, state=S.WAITING)
    with pytest.raises(ValueError, match="without a zone"):
        StepView(step="a", round=1, state=S.WAITING, due_at=datetime(2026, 1, 1))  # noqa: DTZ001  # the point


def test_a_time_without_a_zone_is_refused(playbook: Playbook) -> None:
    with pytest.raises(ValueError, match="without a zone"):
        next_moves(state_of(playbook), datetime(2026, 1, 1))  # noqa: DTZ001  # the point


def test_late_approval_is_escalated() -> None:
    asking = view("lock", StepState.ASKING, planned=1, is_asked=True, approvals_needed=1)
    playbook = playbook_of(
        "lock: {title: Lock, do: accounts.lock, with: {accounts: '{{ inputs.accounts }}'}}"
    )

    def moves(escalates_at: datetime | None) -> list[Move]:
        late = replace(asking, escalates_at=escalates_at)
        return next_moves(state_of(playbook, late), NOON)

    assert moves(NOON) == [Escalate(step="lock", round=1, level=1)]
    assert moves(NOON + timedelta(seconds=1)) == []
    assert moves(None) == []


def test_added_targets_become_one_further_round(
    playbook: Playbook,
) -> None:
    lock = view("lock", S.DONE, done=1)
    logs = view("logs", S.DONE, done=1, joined=1)
    told = view("tell", S.ASKING, planned=3, is_asked=True, approvals_needed=2)
    state = replace(state_of(playbook, logs, lock, told), joined=1)
    assert next_moves(state, NOON)[0] == Expand(step="lock", round=2)
    assert [move.step for move in next_moves(state, NOON)] == ["lock", "ask"]
    wide = replace(state, steps={**state.steps, "lock": replace(lock, joined=1)})
    assert [move.step for move in next_moves(wide, NOON)] == ["ask"]
    ready = replace(wide, steps={**wide.steps, "ask": SAID_YES})
    assert next_moves(ready, NOON) == [], "what asks is not overtaken: what is signed is the newest"


def test_further_round_waits_for_its_need() -> None:
    playbook = playbook_of(
        """
        lock: {title: Lock, do: accounts.lock, with: {accounts: [a]}}
        prove: {title: Prove, needs: [lock], do: accounts.prove_locked, with: {accounts: [a]}}
        """
    )
    lock, prove = view("lock", S.DONE, done=1), view("prove", S.DONE, done=1)
    state = replace(state_of(playbook, lock, prove), joined=1)
    assert next_moves(state, NOON) == [Expand(step="lock", round=2)], "who is not locked yet"
    wide = replace(state, steps={**state.steps, "lock": replace(lock, joined=1)})
    assert next_moves(wide, NOON) == [Expand(step="prove", round=2)]


@pytest.mark.parametrize("ended", [S.SKIPPED, S.REFUSED])
def test_added_targets_restart_no_unwanted_step(ended: StepState) -> None:
    playbook = playbook_of("lock: {title: Lock, do: accounts.lock, with: {accounts: [a]}}")
    state = replace(state_of(playbook, view("lock", ended)), joined=1)
    assert next_moves(state, NOON) == []


def test_rounds_are_summed_without_refused_ones() -> None:
    first = view("lock", S.PARTIAL, done=2, failed=1)
    second = replace(view("lock", S.DONE, done=1), round=2)
    refused = replace(view("lock", S.REFUSED, planned=9), round=3)
    both = merged([first, second])
    assert (both.round, both.state, both.counts.done, both.counts.failed) == (2, S.DONE, 3, 1)
    assert merged([first, refused, replace(second, round=4)]).counts == both.counts
    assert merged([first, second, refused]) is refused
    assert not both.is_accepted
    assert merged([replace(first, is_accepted=True), second]).is_accepted
    assert not merged([replace(first, is_accepted=True), replace(first, round=2)]).is_accepted


def test_superseded_round_runs_to_its_end() -> None:
    playbook = playbook_of("lock: {title: Lock, do: accounts.lock, with: {accounts: [a]}}")
    newer = replace(view("lock", S.RUNNING, planned=1), round=2)
    state = replace(state_of(playbook, newer), earlier=(view("lock", S.RUNNING, done=1),))
    (move,) = next_moves(state, NOON)
    assert isinstance(move, Finish)
    assert (move.step, move.round, move.state) == ("lock", 1, S.DONE)


def test_failure_stops_needs_but_not_after() -> None:
    playbook = playbook_of(
        """
        lock: {title: Lock, do: accounts.lock, with: {accounts: [a]}}
        prove: {title: Prove, needs: [lock], manual: x}
        tell: {title: Tell, after: [lock], manual: x}
        """
    )
    running = state_of(playbook, view("lock", StepState.RUNNING, planned=1))
    assert next_moves(running, NOON) == []
    failed = state_of(playbook, view("lock", StepState.FAILED, failed=1))
    assert next_moves(failed, NOON) == [Prompt(step="tell", round=1)]


@pytest.mark.parametrize("key", ["needs", "after"])
@pytest.mark.parametrize(
    ("lock", "begins"),
    [
        (view("lock", S.FAILED, failed=1), False),
        (view("lock", S.PARTIAL, done=1, failed=1), False),
        (view("lock", S.RUNNING, done=1, planned=1, moved_at=NOON - timedelta(hours=1)), False),
        (view("lock", S.PARTIAL, done=1, failed=1, is_accepted=True), True),
        (view("lock", S.DONE, done=2), True),
        (view("lock", S.SKIPPED), True),
    ],
)
def test_unapproved_notice_waits_for_the_lock(key: str, lock: StepView, begins: bool) -> None:
    notice = "do: notices.send, with: {template: t, audience: staff}, approval: {APPROVAL}"
    playbook = playbook_of(
        f"""
        lock: {{title: Lock, do: accounts.lock, with: {{accounts: [a]}}, on_partial: go_on}}
        tell: {{title: Tell, {key}: [lock], {notice.replace("APPROVAL", "none_because: test")}}}
        """
    )
    moves = next_moves(state_of(playbook, lock), NOON)
    assert (Expand(step="tell", round=1) in moves) is begins


def test_refusal_stops_steps_that_come_after() -> None:
    playbook = playbook_of(
        """
        lock: {title: Lock, do: accounts.lock, with: {accounts: [a]}}
        tell: {title: Tell, after: [lock], manual: x}
        """
    )
    refused = state_of(playbook, view("lock", StepState.REFUSED, planned=1))
    assert next_moves(refused, NOON) == []


def test_after_waits_a_minute_for_stuck_steps() -> None:
    playbook = playbook_of(
        """
        lock: {title: Lock, do: accounts.lock, with: {accounts: "{{ inputs.accounts }}"}}
        prove: {title: Prove, needs: [lock], manual: x}
        tell: {title: Tell, after: [lock], manual: x}
        """
    )

    def moves(**facts: object) -> list[Move]:
        stuck = {"done": 400, "submitting": 100, "moved_at": NOON - timedelta(minutes=1)}
        return next_moves(state_of(playbook, view("lock", S.RUNNING, **(stuck | facts))), NOON)

    assert moves() == [Prompt(step="tell", round=1)]  # and its dependents continue to wait
    assert moves(moved_at=NOON - timedelta(seconds=59)) == []
    assert moves(moved_at=None) == []
    assert moves(is_paused=True) == []
    assert moves(after_canary=100) == []
