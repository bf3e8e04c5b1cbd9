from dataclasses import replace

import pytest

from standfast.playbook.model import Playbook
from standfast.playbook.run_state import State, StepView
from standfast.playbook.status.next_step import LegalClocks, summarise_status
from standfast.records import Mode, StepState
from tests.playbook.build import NOON, playbook_of, state_of, view

S = StepState


@pytest.fixture
def playbook() -> Playbook:
    return playbook_of(
        """
        lock: {title: Lock, do: accounts.lock, with: {accounts: [a]}, on_partial: hold}
        ask: {title: Ask, needs: [lock], decide: "Who else?", options: [nobody, many]}
        tell:
          title: Tell
          needs: [lock]
          do: notices.send
          with: {template: t, audience: a}
          approval: {count: 1, roles: [legal, duty-manager]}
        rest: {title: Rest, needs: [ask, tell], wait: 1h}
        look: {title: Look around, needs: [ask], manual: Look.}
        """
    )


LOCKED = view("lock", S.DONE, done=5)
ANSWERED = view("ask", S.DONE, answer="nobody")
TOLD = view("tell", S.DONE, done=3)
LOOKED = view("look", S.DONE, answer="quiet")
RESTED = view("rest", S.DONE)


def flags(state: State) -> tuple[bool, bool, bool]:
    found = summarise_status(state)
    return found.is_over, found.is_busy, found.waits_for_people


@pytest.mark.parametrize(
    ("views", "expected", "sentence"),
    [
        (
            (),
            (False, True, False),
            "the next step of 7 begins in a moment",
        ),
        (
            (view("lock", S.RUNNING, done=2, planned=3),),
            (False, True, False),
            "`lock` is running, 2 of 5 done, 3 not begun",
        ),
        (
            (view("lock", S.PARTIAL, done=4, failed=1),),
            (False, False, True),
            "`standfast incident retry 7 lock`",
        ),
        (
            (view("lock", S.PARTIAL, done=4, unknown=1),),
            (False, False, True),
            "`standfast incident settle 7 EFFECT yes|no`",
        ),
        (
            (LOCKED, view("ask", S.PROMPTED), view("tell", S.ASKING, planned=3, is_asked=True)),
            (False, False, True),
            "Who else? Answer `nobody` or `many`: `standfast incident answer 7 ask ANSWER`.",
        ),
        (
            (LOCKED, ANSWERED, view("tell", S.ASKING, planned=3, is_asked=True), LOOKED),
            (False, False, True),
            "`standfast incident approve 7 tell --as PERSON`",
        ),
        (
            (
                *(LOCKED, ANSWERED, view("look", S.PROMPTED)),
                view("tell", S.ASKING, planned=3, is_asked=True),
            ),
            (False, False, True),
            "`tell` waits for the approval of legal or duty-manager",
        ),
        (
            (LOCKED, ANSWERED, view("tell", S.ASKING, planned=3), LOOKED),
            (False, True, True),
            "paged",
        ),
        (
            (LOCKED, ANSWERED, view("tell", S.RUNNING, planned=3), view("look", S.PROMPTED)),
            (False, True, True),
            "By hand: Look around. When it is done: `standfast incident answer 7 look",
        ),
        (
            (LOCKED, ANSWERED, TOLD, LOOKED, view("rest", S.WAITING, due_at=NOON)),
            (False, True, False),
            "`rest` waits until 2026-03-01 12:00 UTC",
        ),
        (
            (LOCKED, ANSWERED, TOLD, LOOKED, RESTED),
            (True, False, False),
            "Everything is done. Close it: `standfast incident close 7 --as PERSON`",
        ),
        (
            (LOCKED, ANSWERED, view("tell", S.REFUSED, planned=3), LOOKED),
            (False, False, True),
            "`standfast incident retry 7 tell --as PERSON`",
        ),
    ],
)
def test_the_operator_reads_one_next_step(
    playbook: Playbook,
    views: tuple[StepView, ...],
    expected: tuple[bool, bool, bool],
    sentence: str,
) -> None:
    state = state_of(playbook, *views)
    assert flags(state) == expected
    assert sentence in summarise_status(state).next_step


def test_interrupted_work_is_not_said_to_run(playbook: Playbook) -> None:
    """The terminal of the person that opened it was cut, and no `serve` runs."""
    resume = "No runner works on it. Continue: `standfast incident resume 7`"
    running = state_of(playbook, view("lock", S.RUNNING, done=2, planned=3))
    told = summarise_status(replace(running, has_runner=False)).next_step
    assert told.startswith("`lock` is interrupted: 2 of 5 done.")
    assert resume in told
    unknown = state_of(playbook, view("lock", S.RUNNING, done=1, unknown=1, settling=1))
    told = summarise_status(replace(unknown, has_runner=False)).next_step
    assert "1 of 2 done, 1 unknown." in told
    assert "`standfast incident accept 7 lock`" in told
    asking = state_of(playbook, LOCKED, ANSWERED, LOOKED, view("tell", S.ASKING, planned=3))
    told = summarise_status(replace(asking, has_runner=False)).next_step
    assert "not paged yet: `standfast incident resume 7`" in told
    views = (LOCKED, ANSWERED, TOLD, LOOKED, view("rest", S.WAITING, due_at=NOON))
    assert (
        resume in summarise_status(replace(state_of(playbook, *views), has_runner=False)).next_step
    )


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("by: [legal, duty-manager]", "By hand (legal or duty-manager): Look. When it is done: `"),
        ("roles: [legal]", "By hand (legal): Look. When it is done: `"),
        ("by: [carrier]\n  roles: [legal]", "By hand (carrier): Look. When it is done (legal): `"),
    ],
)
def test_manual_step_names_its_roles(named: str, told: str) -> None:
    small = playbook_of(f"look:\n  title: Look\n  manual: Look.\n  {named}")
    assert summarise_status(state_of(small, view("look", S.PROMPTED))).next_step.startswith(told)


def test_next_page_time_is_shown_to_the_minute(playbook: Playbook) -> None:
    asking = view("tell", S.ASKING, planned=3, is_asked=True)
    late = replace(asking, escalates_at=NOON.replace(microsecond=304913))
    told = summarise_status(state_of(playbook, LOCKED, ANSWERED, late, LOOKED)).next_step
    assert "paged at 2026-03-01 12:00 UTC)" in told


def test_what_an_undo_kept_is_named_before_closing(playbook: Playbook) -> None:
    whole = state_of(playbook, LOCKED, ANSWERED, TOLD, LOOKED, RESTED)
    told = summarise_status(replace(whole, unrestored_count=2)).next_step
    assert "2 targets" in told
    commands = ("undo 7 --all --plan`", "undo 7 --all --as PERSON`", "close 7 --as PERSON`")
    assert [command for command in commands if command in told] == [*commands]
    told = summarise_status(replace(whole, unrestored_count=1), LegalClocks(missed=1)).next_step
    assert "1 target " in told
    assert "1 legal clock missed" in told


def test_a_missed_clock_goes_before_closing(playbook: Playbook) -> None:
    clocks = LegalClocks(missed=1, next_due=NOON)
    whole = state_of(playbook, LOCKED, ANSWERED, TOLD, LOOKED, RESTED)
    told = summarise_status(whole, clocks).next_step
    assert (
        told.index("1 legal clock missed") < told.index("deadline list 7") < told.index("close 7")
    )
    assert "missed" not in summarise_status(whole, LegalClocks(next_due=NOON)).next_step
    told = summarise_status(whole, LegalClocks(due_now=1)).next_step
    assert "1 legal clock due now (without delay)" in told
    closed = summarise_status(
        replace(whole, is_stopped_or_closed=True, is_closed=True), clocks
    ).next_step
    assert "1 legal clock missed, the next legal clock is due 2026-03-01 12:00 UTC" in closed
    due = summarise_status(
        replace(whole, is_stopped_or_closed=True, is_closed=True), LegalClocks(due_now=2)
    )
    assert "2 legal clocks due now (without delay)" in due.next_step


def test_refused_target_is_not_offered_for_retry(playbook: Playbook) -> None:
    for left in ({"done": 4, "refused": 1}, {"refused": 5}):
        short = view("lock", S.PARTIAL if "done" in left else S.FAILED, **left)
        told = summarise_status(state_of(playbook, short)).next_step
        assert "`lock` blocks" in told
        assert "retry" not in told
        assert "`standfast incident status 7 --targets`" in told
        assert "`standfast incident accept 7 lock`" in told
    mixed = view("lock", S.PARTIAL, done=3, refused=1, failed=1)
    assert "retry 7 lock" in summarise_status(state_of(playbook, mixed)).next_step


def test_written_letters_are_posted_before_anything_is_settled(playbook: Playbook) -> None:
    unposted = view("tell", S.PARTIAL, done=3, unknown=4)
    posted = "print and post them, then `standfast notice posted 7 tell --as PERSON`"
    over = summarise_status(
        state_of(playbook, LOCKED, ANSWERED, unposted, LOOKED, RESTED)
    ).next_step
    assert over.index(posted) < over.index("close 7")
    hold = playbook_of(
        """
        tell:
          title: Tell
          do: notices.send
          with: {template: t, audience: a}
          approval: {none_because: a test}
          on_partial: hold
        look: {title: Look, needs: [tell], manual: Look.}
        """
    )
    held_up = summarise_status(state_of(hold, unposted)).next_step
    assert held_up.index("notice posted 7 tell`") < held_up.index("incident settle 7")
    lock = view("lock", S.PARTIAL, done=4, unknown=1)
    assert "notice posted" not in summarise_status(state_of(playbook, lock)).next_step


def test_known_letters_are_counted_with_their_folder(playbook: Playbook) -> None:
    unposted = replace(
        view("tell", S.PARTIAL, done=3, unknown=4), letters=2, letters_in="/srv/letters"
    )
    told = summarise_status(
        state_of(playbook, LOCKED, ANSWERED, unposted, LOOKED, RESTED)
    ).next_step
    there = "2 letters to be posted, in /srv/letters: print and post them, then `standfast notice"
    assert there in told
    assert "For the other recipients: " in told
    alone = replace(unposted, letters=4)
    told = summarise_status(state_of(playbook, LOCKED, ANSWERED, alone, LOOKED, RESTED)).next_step
    assert "4 letters to be posted" in told
    assert "For the other recipients" not in told


def test_an_end_with_targets_left_says_so_first(playbook: Playbook) -> None:
    short = view("lock", S.PARTIAL, done=4, failed=1, is_accepted=True)
    found = summarise_status(state_of(playbook, short, ANSWERED, TOLD, LOOKED, RESTED))
    assert (found.is_over, found.is_partial, found.is_failed) == (True, True, False)
    assert "`lock` is partial: 4 of 5 done, 1 failed" in found.next_step
    assert "standfast incident status 7 --targets" in found.next_step

    refused = view("tell", S.REFUSED, planned=3, is_accepted=True)
    found = summarise_status(state_of(playbook, short, ANSWERED, refused, LOOKED, RESTED))
    assert (found.is_over, found.is_failed) == (True, True)
    assert "`tell` is refused" in found.next_step


def test_what_failed_is_tried_again_before_anybody_closes(playbook: Playbook) -> None:
    short = view("lock", S.PARTIAL, done=4, failed=1)
    only = playbook_of("lock: {title: Lock, do: accounts.lock, with: {accounts: [a]}}")
    found = summarise_status(state_of(only, short))
    assert found.is_over
    assert "`standfast incident retry 7 lock`" in found.next_step
    assert "close" not in found.next_step
    refused = summarise_status(state_of(only, view("lock", S.PARTIAL, done=4, refused=1)))
    assert "retry" not in refused.next_step
    assert "then close it: `standfast incident close 7 --as PERSON`" in refused.next_step


def test_recent_request_is_not_hidden_by_obstacles(
    playbook: Playbook,
) -> None:
    partial = view("lock", S.PARTIAL, done=4, failed=1)
    asking = view("correction-1", S.ASKING, planned=3, is_asked=True, digest="3f9c" * 16)
    told = summarise_status(state_of(playbook, partial, extra=(asking,))).next_step
    assert "`standfast incident approve 7 correction-1 --digest 3f9c" in told
    corrected = view("correction-1", S.DONE, done=3)
    told = summarise_status(state_of(playbook, partial, extra=(corrected,))).next_step
    assert told.startswith("`lock` blocks")


@pytest.mark.parametrize(
    ("round_2", "command"),
    [
        (view("lock", S.ASKING, planned=1, is_asked=True, approvals_needed=1), "approve 7 lock"),
        (view("lock", S.FAILED, failed=1), "retry 7 lock"),
        (view("lock", S.DONE, done=1), "resume 7"),
    ],
)
def test_added_targets_need_the_act_that_helps(round_2: StepView, command: str) -> None:
    playbook = playbook_of(
        """
        lock: {title: Lock, do: accounts.lock, with: {accounts: [a]}, approval: {count: 1}}
        prove: {title: Prove, needs: [lock], do: accounts.prove_locked, with: {accounts: [a]}}
        """
    )
    proven = view("prove", S.DONE, done=1)
    state = state_of(playbook, replace(round_2, round=2, joined=1), proven)
    told = summarise_status(replace(state, joined=1, has_runner=False))
    assert f"`standfast incident {command}" in told.next_step
    assert not told.is_over


def test_incident_is_not_over_during_an_undo(playbook: Playbook) -> None:
    done = (LOCKED, ANSWERED, TOLD, LOOKED, RESTED)
    undoing = state_of(playbook, *done, extra=(view("undo:lock", S.RUNNING, planned=2),))
    assert flags(undoing) == (False, True, False)
    assert "`undo:lock` is running" in summarise_status(undoing).next_step
    again = view("tell", S.PARTIAL, done=2, planned=1)
    assert flags(state_of(playbook, LOCKED, ANSWERED, again, LOOKED, RESTED)) == (
        False,
        True,
        False,
    )


def test_stopped_and_planned_say_how_to_go_on(playbook: Playbook) -> None:
    stopped = summarise_status(state_of(playbook, is_stopped_or_closed=True))
    assert "standfast incident resume 7" in stopped.next_step
    assert (stopped.is_busy, stopped.waits_for_people) == (False, True)
    plan = summarise_status(state_of(playbook, mode=Mode.PLAN))
    assert "nothing was done" in plan.next_step


def test_unevaluable_condition_waits_for_a_person() -> None:
    playbook = playbook_of(
        "a: {title: A, manual: x}\nb: {title: B, needs: [a], manual: x, when: answers.a}"
    )
    state = state_of(playbook, view("a", S.DONE, answer="no"))
    assert flags(state) == (False, False, True)
    assert "condition cannot be evaluated" in summarise_status(state).next_step


def test_canary_and_paused_notice_come_next(playbook: Playbook) -> None:
    canary = view("tell", S.RUNNING, done=3, planned=97, after_canary=97)
    found = summarise_status(state_of(playbook, LOCKED, ANSWERED, canary, LOOKED))
    assert "first 3 messages" in found.next_step
    assert "other 97 follow" in found.next_step
    assert "`standfast notice go 7 tell`" in found.next_step
    assert (found.is_busy, found.waits_for_people) == (True, False)
    paused = replace(canary, is_paused=True)
    found = summarise_status(state_of(playbook, LOCKED, ANSWERED, paused, LOOKED))
    assert found.next_step.startswith("`tell` is paused: 97 ")
    assert "`standfast notice resume 7 tell`" in found.next_step
    assert (found.is_busy, found.waits_for_people) == (False, True)
