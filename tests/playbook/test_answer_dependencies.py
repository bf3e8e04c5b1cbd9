"""A corrected answer: its skipped steps are decided again."""

import pytest

from standfast.playbook.answer_dependencies import answers_behind
from standfast.playbook.engine import Expand, Finish, Move, Prompt, next_moves
from standfast.playbook.model import Playbook
from standfast.playbook.run_state import StepView
from standfast.records import StepState
from tests.playbook.build import NOON, playbook_of, state_of, view

S = StepState


@pytest.fixture
def playbook() -> Playbook:
    return playbook_of(
        """
        ask: {title: Ask, decide: "Well?", options: ["yes", "no"]}
        tell:
          title: Tell
          needs: [ask]
          when: answers.ask == "yes"
          do: notices.send
          with: {template: t, audience: a}
          approval: {count: 2}
        rest: {title: Rest, needs: [tell], wait: 30m}
        count:
          title: Count
          needs: [rest]
          when: steps.tell.done > 0
          manual: Count the letters.
        look: {title: Look, needs: [count], manual: Look.}
        """
    )


SAID_NO = view("ask", S.DONE, answer="no")
SAID_YES_SINCE = view("ask", S.DONE, round=2, answer="yes")
LEFT_OUT = view("tell", S.SKIPPED)
RESTED = view("rest", S.DONE)
UNCOUNTED = view("count", S.SKIPPED)


def _moves(playbook: Playbook, *views: StepView) -> list[Move]:
    return next_moves(state_of(playbook, *views), NOON)


def test_step_depends_on_answers_directly_and_indirectly(playbook: Playbook) -> None:
    found = {step.name: answers_behind(playbook, step) for step in playbook.steps}
    asked = frozenset({"ask"})
    assert found == {"ask": set(), "tell": asked, "rest": set(), "count": asked, "look": set()}


def test_skipped_step_stays_skipped_until_a_correction(playbook: Playbook) -> None:
    others = (RESTED, UNCOUNTED, view("look", S.DONE, answer="done"))
    assert _moves(playbook, SAID_NO, LEFT_OUT, *others) == []
    said = view("ask", S.PROMPTED, round=2, answer="yes")
    finish = Finish(step="ask", round=2, state=S.DONE, reason="answered")
    assert _moves(playbook, said, LEFT_OUT, *others) == [finish]
    assert _moves(playbook, SAID_YES_SINCE, LEFT_OUT, *others) == [Expand(step="tell", round=2)]


def test_dependent_waits_for_a_reconsidered_step(
    playbook: Playbook,
) -> None:
    assert _moves(playbook, SAID_YES_SINCE, LEFT_OUT) == [Expand(step="tell", round=2)]
    begun = view("tell", S.RUNNING, round=2, planned=1)
    assert _moves(playbook, SAID_YES_SINCE, begun) == []
    assert _moves(playbook, SAID_YES_SINCE, begun, RESTED, UNCOUNTED) == []
    told = view("tell", S.DONE, round=2, done=1)
    assert _moves(playbook, SAID_YES_SINCE, told, RESTED, UNCOUNTED) == [
        Prompt(step="count", round=2)
    ]


def test_unneeded_step_is_reconsidered_at_once(playbook: Playbook) -> None:
    said_maybe = view("ask", S.DONE, round=2, answer="perhaps")
    (move,) = _moves(playbook, said_maybe, LEFT_OUT, RESTED, UNCOUNTED)
    assert isinstance(move, Finish)
    assert (move.step, move.round, move.state) == ("tell", 2, S.SKIPPED)
    again = view("tell", S.SKIPPED, round=2)
    (move,) = _moves(playbook, said_maybe, again, RESTED, UNCOUNTED)
    assert isinstance(move, Finish)
    assert (move.step, move.round, move.state) == ("count", 2, S.SKIPPED)
    uncounted = view("count", S.SKIPPED, round=2)
    assert _moves(playbook, said_maybe, again, RESTED, uncounted) == [Prompt(step="look", round=1)]


@pytest.mark.parametrize("state", [S.RUNNING, S.DONE, S.FAILED, S.REFUSED])
def test_begun_step_keeps_the_earlier_answer(playbook: Playbook, state: S) -> None:
    said_no_since = view("ask", S.DONE, round=2, answer="no")
    begun = view("tell", state, planned=1)
    moves = _moves(
        playbook, said_no_since, begun, RESTED, view("count", S.DONE), view("look", S.DONE)
    )
    assert moves == []


def test_lock_under_look_up_delays_nothing_new() -> None:
    playbook = playbook_of(
        """
        lock: {title: Lock, do: accounts.lock, with: {accounts: "{{ inputs.accounts }}"}}
        ask: {title: Ask, after: [lock], decide: "Well?", options: ["yes", "no"]}
        clocks: {title: Clocks, needs: [ask], when: answers.ask == "yes", manual: Start them.}
        """
    )
    lock = view("lock", S.RUNNING, unknown=1, settling=1)
    moves = _moves(playbook, lock, SAID_YES_SINCE, view("clocks", S.SKIPPED))
    assert moves == [Prompt(step="clocks", round=2)]


def test_answers_can_be_corrected_repeatedly() -> None:
    playbook = playbook_of(
        """
        one: {title: One, decide: "Well?", options: ["yes", "no"]}
        two: {title: Two, decide: "Well?", options: ["yes", "no"]}
        act:
          title: Act
          needs: [one, two]
          when: answers.one == "yes" and answers.two == "yes"
          manual: Act.
        """
    )
    act_round = 1
    for one, two in ((2, 1), (3, 1), (3, 2)):
        views = (
            view("one", S.DONE, round=one, answer="yes"),
            view("two", S.DONE, round=two, answer="no"),
        )
        (move,) = _moves(playbook, *views, view("act", S.SKIPPED, round=act_round))
        assert isinstance(move, Finish)
        act_round = move.round
        assert _moves(playbook, *views, view("act", S.SKIPPED, round=act_round)) == []
    said_yes = view("two", S.DONE, round=3, answer="yes")
    moves = _moves(playbook, views[0], said_yes, view("act", S.SKIPPED, round=act_round))
    assert moves == [Prompt(step="act", round=act_round + 1)]
