from dataclasses import replace

import pytest

from standfast.playbook.model import Playbook
from standfast.playbook.run_state import State, StepView
from standfast.playbook.status.headline import Severity
from standfast.playbook.status.next_step import summarise_status
from standfast.records import Mode, StepState
from tests.playbook.build import playbook_of, state_of, view

S = StepState


@pytest.fixture
def playbook() -> Playbook:
    return playbook_of(
        """
        lock: {title: Lock, do: accounts.lock, with: {accounts: [a]}}
        tell: {title: Tell, needs: [lock], do: notices.send, with: {template: t, audience: a},
          approval: {none_because: a test}}
        ask: {title: Ask, needs: [lock], decide: "Who else?", options: [nobody, many]}
        clocks: {title: Clocks, needs: [ask], manual: Notify.}
        """
    )


LOCKED = view("lock", S.DONE, done=200)
HALF = view("lock", S.RUNNING, done=57, planned=143)
ASKED = view("ask", S.PROMPTED)
ANSWERED = view("ask", S.DONE, answer="nobody")
CLOCKS = view("clocks", S.PROMPTED)
TELLING = view("tell", S.RUNNING, done=55, planned=4945)
TOLD = view("tell", S.DONE, done=5000)


def left(playbook: Playbook, *views: StepView, extra: tuple[StepView, ...] = ()) -> State:
    """Return a state on which no runner works."""
    return replace(state_of(playbook, *views, extra=extra), has_runner=False)


def test_half_locked_comes_before_everything(playbook: Playbook) -> None:
    found = summarise_status(left(playbook, HALF))
    assert found.severity is Severity.UNCONTAINED
    assert found.headline.startswith("57 of 200 contained, interrupted, nobody is working on it")
    assert "resume 7" in found.next_step
    half = replace(state_of(playbook, HALF), has_runner=False, is_stopped_or_closed=True)
    assert summarise_status(half).severity is Severity.UNCONTAINED
    asked = summarise_status(state_of(playbook, LOCKED, TOLD, ASKED))
    assert (asked.severity, asked.headline) == (
        Severity.WAITING,
        "200 of 200 contained, waits for 1 answer",
    )
    assert found.severity < summarise_status(left(playbook, LOCKED)).severity < asked.severity


@pytest.mark.parametrize("name", ["undo-1", "lock"])
def test_interrupted_work_precedes_questions(playbook: Playbook, name: str) -> None:
    half = view(name, S.RUNNING, done=50, planned=150)
    state = (
        left(playbook, LOCKED, TOLD, ASKED, extra=(half,))
        if name == "undo-1"
        else left(playbook, half, ASKED)
    )
    found = summarise_status(state)
    assert found.next_step.startswith(f"`{name}` is interrupted: 50 of 200 done.")
    if name == "undo-1":
        assert found.severity is Severity.INTERRUPTED
        assert "50 of 200 undone, interrupted" in found.headline


def test_untold_customers_precede_manual_work(playbook: Playbook) -> None:
    found = summarise_status(left(playbook, LOCKED, TELLING, ANSWERED, CLOCKS))
    assert "4,945 people not notified, interrupted, nobody is working on it, no `serve` runs" in (
        found.headline
    )
    assert found.severity is Severity.INTERRUPTED
    assert found.next_step.startswith("`tell` is interrupted: 55 of 5,000 done.")
    # An answer continues the notice, too.
    assert (
        "`nobody` or `many`" in summarise_status(left(playbook, LOCKED, TELLING, ASKED)).next_step
    )


def test_an_unfinished_plan_is_not_interrupted(playbook: Playbook) -> None:
    plan = replace(left(playbook), mode=Mode.PLAN)
    assert summarise_status(plan).headline == "planned only"
    assert summarise_status(state_of(playbook, HALF)).severity is Severity.RUNNING


def test_failed_locks_stay_severe_at_the_end(playbook: Playbook) -> None:
    short = view("lock", S.PARTIAL, done=4, failed=1)
    only = playbook_of("lock: {title: Lock, do: accounts.lock, with: {accounts: [a]}}")
    found = summarise_status(state_of(only, short))
    assert (found.is_over, found.severity) == (True, Severity.UNCONTAINED)
    accepted = summarise_status(state_of(only, replace(short, is_accepted=True)))
    assert accepted.severity is Severity.FINISHED


def test_what_has_not_begun_is_named(playbook: Playbook) -> None:
    assert summarise_status(left(playbook)).next_step.startswith(
        "`lock` has not started. No runner"
    )
