"""Operators and runners at once: one outcome, no duplicate, no loss.

Each test runs on SQLite, which permits one writer at a time, and on PostgreSQL, which permits many.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from standfast.errors import ApprovalRefused, StandfastError
from standfast.ledger.approvals import two_person_rule
from standfast.playbook.engine import Finish
from standfast.records import EffectState, Mode, StepState
from standfast.usecases.approvals import step_decisions, step_retry
from standfast.usecases.incidents import effect_undo, lifecycle
from standfast.usecases.triggers import plan_promotion
from tests.usecases.installations import PASSPHRASES, undo_approved
from tests.usecases.twins import (
    ACCOUNTS,
    SimulatedInstallation,
    Twins,
    simulated_installation,
    twin_directory,
)

T = TypeVar("T")
JOIN_SECONDS = 120.0  # on a busy machine
MANY = tuple(f"agents:{name}" for name in ACCOUNTS)


def at_once(*calls: Callable[[], T]) -> list[T | StandfastError]:
    """Start all calls together; return results or errors in order."""
    start = threading.Barrier(len(calls))
    came: dict[int, T | StandfastError] = {}
    broken: list[BaseException] = []

    def run(number: int, call: Callable[[], T]) -> None:
        try:
            start.wait(JOIN_SECONDS)
            came[number] = call()
        except StandfastError as error:
            came[number] = error
        except BaseException as error:
            broken.append(error)

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(JOIN_SECONDS)
    assert not any(thread.is_alive() for thread in threads), "somebody waits for ever"
    assert not broken, broken
    return [came[number] for number in range(len(calls))]


def asks_for_two(installation: SimulatedInstallation) -> tuple[str, str]:
    """Run an incident to an undo with two approvals; return id and step."""
    case = installation.run("lock", MANY)
    plan = effect_undo.undo(installation, case, requested_by="lee")
    assert plan.needs_approvals == 2
    return case, plan.step


def test_one_trigger_at_two_consoles_opens_one_incident(
    installation: SimulatedInstallation,
) -> None:
    found = at_once(*[lambda: installation.open("lock", trigger="alert 17")] * 4)
    assert len(set(map(str, found))) == 1
    assert len(installation.ledger.incidents.all()) == 1


def test_two_promotions_open_one_incident(
    installation: SimulatedInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = installation.open("lock", MANY, mode=Mode.PLAN)
    # Without a second check, both threads find the plan open before either closes it.
    meeting = threading.Barrier(2)
    close = lifecycle.close

    def meet_first(*words: Any, **more: Any) -> None:
        # The later thread found the plan closed and does not reach this point.
        with suppress(threading.BrokenBarrierError):
            meeting.wait(0.5)
        close(*words, **more)

    monkeypatch.setattr(plan_promotion, "close", meet_first)
    came = at_once(
        lambda: plan_promotion.carry_out(installation, plan, "dana"),
        lambda: plan_promotion.carry_out(installation, plan, "lee"),
    )
    (live,) = {one.incident for one in came if isinstance(one, lifecycle.Opened)}
    assert not [one for one in came if isinstance(one, StandfastError)]
    assert [row.id for row in installation.ledger.incidents.all(only_open=True)] == [live]
    at_once(*[lambda: installation.advance(live)] * 2)
    assert {row.tries for row in installation.ledger.effects.of_incident(live)} == {1}
    assert not any(installation.is_enabled(name) for name in ACCOUNTS)


def test_lost_promotion_race_is_no_mistake(
    installation: SimulatedInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = installation.open("lock", MANY, mode=Mode.PLAN)
    close, opened = lifecycle.close, []

    def close_second(*words: Any, **more: Any) -> None:
        monkeypatch.setattr(plan_promotion, "close", close)
        opened.append(plan_promotion.carry_out(installation, plan, "lee"))
        close(*words, **more)

    monkeypatch.setattr(plan_promotion, "close", close_second)
    second = plan_promotion.carry_out(installation, plan, "dana")
    assert opened == [lifecycle.Opened(incident=second.incident, has_joined=True)]
    assert [row.id for row in installation.ledger.incidents.all(only_open=True)] == [
        second.incident
    ]


def test_two_approvals_given_at_once_both_count(
    installation: SimulatedInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, step = asks_for_two(installation)
    # Without a lock, both threads read the question before either writes its approval.
    meeting = threading.Barrier(2)
    refuse_unfit = two_person_rule.refuse_unfit

    def meet_first(*args: Any) -> None:
        refuse_unfit(*args)
        # The other thread waits for its lock, as expected.
        with suppress(threading.BrokenBarrierError):
            meeting.wait(0.5)

    monkeypatch.setattr(two_person_rule, "refuse_unfit", meet_first)
    at_once(
        lambda: step_decisions.decide(installation, case, step, "lee", PASSPHRASES["lee"]),
        lambda: step_decisions.decide(installation, case, step, "kim", PASSPHRASES["kim"]),
    )
    installation.advance(case)
    assert all(installation.is_enabled(name) for name in ACCOUNTS)


def test_the_same_person_at_two_terminals_approves_once(
    installation: SimulatedInstallation,
) -> None:
    case, step = asks_for_two(installation)

    def approve() -> object:
        return step_decisions.decide(installation, case, step, "lee", PASSPHRASES["lee"])

    came = at_once(approve, approve)
    (refused,) = (one for one in came if isinstance(one, StandfastError))
    assert isinstance(refused, ApprovalRefused)
    assert f"step '{step}': 'lee' has decided already" in str(refused)
    assert installation.ledger.decisions.question(case, step).given == 1
    assert not any(installation.is_enabled(name) for name in ACCOUNTS)


def test_simultaneous_answers_leave_one(installation: SimulatedInstallation) -> None:
    case = installation.run("lock", MANY)
    plan = effect_undo.undo(installation, case, requested_by="dana")
    came = at_once(
        lambda: step_decisions.decide(installation, case, plan.step, "lee", PASSPHRASES["lee"]),
        lambda: step_decisions.decide(
            installation, case, plan.step, "kim", PASSPHRASES["kim"], approves=False
        ),
    )
    installation.advance(case)
    (view,) = installation.ledger.incidents.state(case).extra
    assert sum(isinstance(one, StandfastError) for one in came) == 1
    assert view.state in (StepState.DONE, StepState.REFUSED)
    assert all(installation.is_enabled(name) for name in ACCOUNTS) == (view.state is StepState.DONE)


def test_two_operators_who_undo_at_once_undo_once(
    installation: SimulatedInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = installation.run("account-takeover", MANY)
    # Without a second check, both threads read the same locks before either plans.
    meeting = threading.Barrier(2)
    holders = type(installation.ledger.effects).holders

    def meet_first(effects: Any, rows: Any) -> dict[str, str]:
        with suppress(threading.BrokenBarrierError):  # the second check of the later thread
            meeting.wait(0.5)
        return holders(effects, rows)

    monkeypatch.setattr(type(installation.ledger.effects), "holders", meet_first)
    came = at_once(*[lambda: undo_approved(installation, case)] * 2)
    assert sorted(one.restores for one in came if isinstance(one, effect_undo.UndoPlan)) == [0, 5]
    installation.advance(case)
    unlocks = [
        row
        for row in installation.ledger.effects.of_incident(case)
        if row.verb == "accounts.unlock"
    ]
    assert [row.state for row in unlocks] == [EffectState.DONE] * 5


def test_an_answer_given_twice_at_once_counts_once(installation: SimulatedInstallation) -> None:
    case = installation.run("account-takeover")
    came = at_once(
        lambda: step_decisions.answer(installation, case, "customers_affected", "no", by="lee"),
        lambda: step_decisions.answer(installation, case, "customers_affected", "yes", by="lee"),
    )
    assert sum(isinstance(one, StandfastError) for one in came) == 1


def test_three_runners_act_once_around_a_stop(
    installation: SimulatedInstallation,
) -> None:
    case = installation.open("account-takeover", MANY)
    at_once(
        *[lambda: installation.advance(case)] * 3,
        lambda: lifecycle.stop(installation, case, by="dana"),
    )
    lifecycle.resume(installation, case, by="dana")
    installation.advance(case)
    assert not any(installation.is_enabled(name) for name in ACCOUNTS)
    rows = installation.ledger.effects.of_incident(case)
    assert {row.tries for row in rows} == {1}
    assert [installation.twins.told(f"staff{n}@example.net") for n in (1, 2)] == [1, 1]
    assert installation.ledger.audit.verify().is_whole


def test_closing_leaves_no_act_behind(
    installation: SimulatedInstallation,
) -> None:
    case = installation.open("lock", MANY)
    came = at_once(
        lambda: installation.advance(case), lambda: lifecycle.close(installation, case, by="dana")
    )
    left = {row.state for row in installation.ledger.effects.of_incident(case)}
    assert EffectState.SUBMITTING not in left
    assert EffectState.UNKNOWN not in left
    assert not any(isinstance(one, StandfastError) for one in came[:1])


def test_late_finish_keeps_a_planned_retry(
    installation: SimulatedInstallation,
) -> None:
    from standfast.adapters.accounts.simulator import Fault, SimulatedConnector

    directory = installation.twins.directory
    assert isinstance(directory, SimulatedConnector)
    directory.script("lock", Fault.FAIL)
    case = installation.run("lock")
    assert step_retry.retry(installation, case).count == 1
    # A runner that read the state before the retry still tries to write this result.
    stale = Finish(step="lock", round=1, state=StepState.FAILED, reason="0 of 1 done")
    state = installation.ledger.incidents.state(case)
    lifecycle._apply_move(
        installation,
        state,
        installation.adapters_for(installation.ledger.incidents.get(case)),
        stale,
    )
    installation.advance(case)
    assert not installation.is_enabled("agent01")


def test_concurrent_lock_and_unlock_end_locked(
    installation: SimulatedInstallation,
) -> None:
    first = installation.run("account-takeover", MANY)
    undo_approved(installation, first)
    second = installation.open("lock", MANY)
    at_once(lambda: installation.advance(first), lambda: installation.advance(second))
    installation.advance(second)
    assert not any(installation.is_enabled(name) for name in ACCOUNTS)


def test_many_incidents_side_by_side_all_end(tmp_path: Path, postgres_ledger_url: str) -> None:
    """Claims, receipts and lapses lock rows in one order: no deadlock."""
    twins = Twins(directory=twin_directory(*(f"a{n}" for n in range(24))))
    with simulated_installation(tmp_path, postgres_ledger_url, twins) as installation:
        cases = [
            installation.open("lock", [f"agents:a{n}" for n in range(start, start + 8)])
            for start in (0, 8, 16)
        ]
        came = at_once(*[lambda case=case: installation.advance(case) for case in cases * 2])
        assert not [one for one in came if isinstance(one, StandfastError)]
        assert not any(installation.is_enabled(f"a{n}") for n in range(24))
