"""What one step locked is given back by itself; what another one locked stays shut."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.errors import ConfigurationError, Refused, UsageError
from standfast.records import Mode
from standfast.usecases.incidents import effect_undo, lifecycle
from standfast.usecases.notice_follow_up import corrections
from standfast.usecases.triggers import plan_promotion
from tests.usecases.places import undo_approved
from tests.usecases.twins import TwinPlace, twin_place

PLAYBOOK = """
playbook: two
version: 1
title: Lock two kinds of accounts
use_when: A test gives one of them back.
inputs:
  staff: {type: accounts, required: true}
  suppliers: {type: accounts, required: true}
steps:
  staff_lock: {title: Lock, do: accounts.lock, with: {accounts: "{{ inputs.staff }}"}}
  staff_proof:
    {title: Prove, needs: [staff_lock], do: accounts.prove_locked,
     with: {accounts: "{{ inputs.staff }}"}}
  suppliers_lock: {title: Lock, do: accounts.lock, with: {accounts: "{{ inputs.suppliers }}"}}
  suppliers_proof:
    {title: Prove, needs: [suppliers_lock], do: accounts.prove_locked,
     with: {accounts: "{{ inputs.suppliers }}"}}
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[TwinPlace]:
    with twin_place(tmp_path, playbooks=[PLAYBOOK]) as place:
        yield place


def test_one_step_is_given_back_and_the_other_stays_locked(place: TwinPlace) -> None:
    case = lifecycle.open_incident(
        place,
        "two",
        {"staff": ["agents:agent01", "agents:agent02"], "suppliers": ["agents:agent03"]},
        mode=Mode.LIVE,
        opened_by="dana",
    ).incident
    place.advance(case)
    locked = ("agent01", "agent02", "agent03")
    assert not any(place.is_enabled(name) for name in locked)
    with pytest.raises(UsageError, match="step 'nosuch' touched nothing that can be undone"):
        effect_undo.undo(place, case, step="nosuch", requested_by="dana")
    with pytest.raises(UsageError, match="not locked by this incident"):
        effect_undo.undo(
            place, case, step="suppliers_lock", targets=["agent01"], requested_by="dana"
        )
    plan = undo_approved(place, case, step="suppliers_lock")
    assert (plan.restores, plan.needs_approvals) == (1, 1)
    place.advance(case)
    assert [place.is_enabled(name) for name in locked] == [False, False, True]
    assert effect_undo.undo(place, case, step="suppliers_lock", requested_by="dana").restores == 0
    assert undo_approved(place, case).restores == 2
    place.advance(case)
    assert all(place.is_enabled(name) for name in locked)


def test_a_directory_that_is_not_configured_any_more_keeps_nobody_elsewhere_locked(
    place: TwinPlace,
) -> None:
    here = place.config.accounts
    both = replace(place, config=place.config.replaced(accounts={**here, "old": here["agents"]}))
    inputs = {"staff": ["agents:agent01"], "suppliers": ["old:agent02"]}
    case = lifecycle.open_incident(both, "two", inputs, mode=Mode.LIVE, opened_by="dana").incident
    both.advance(case)
    plan = undo_approved(place, case)
    assert (plan.restores, len(plan.kept)) == (1, 1)
    assert "no [accounts.old]" in plan.kept[0]
    after = place.advance(case)
    assert [place.is_enabled(name) for name in ("agent01", "agent02")] == [True, False]
    assert after.standing.is_over
    left = after.standing.next_step
    assert left.startswith("Every step is done, but 1 target is still as this incident left it.")
    assert f"`standfast incident undo {case} --all --plan`" in left
    with pytest.raises(ConfigurationError, match=r"no \[accounts\.old\]"):
        effect_undo.undo(place, case, requested_by="dana")
    assert undo_approved(both, case).restores == 1
    whole = both.advance(case).standing.next_step
    assert place.is_enabled("agent02")
    assert whole.startswith("Everything is done.")


def opened(place: TwinPlace, mode: Mode = Mode.LIVE) -> str:
    inputs = {"staff": ["agents:agent01"], "suppliers": ["agents:agent02"]}
    return lifecycle.open_incident(place, "two", inputs, mode=mode, opened_by="dana").incident


def test_what_a_closed_incident_locked_is_given_back_once_it_is_opened_again(
    place: TwinPlace,
) -> None:
    case = opened(place)
    place.advance(case)
    with pytest.raises(UsageError, match=f"incident {case} is open"):
        lifecycle.reopen(place, case, by="dana")
    lifecycle.close(place, case, by="dana")
    with pytest.raises(Refused, match=f"reopen {case}` opens it again, then undo"):
        effect_undo.undo(place, case, requested_by="dana")
    assert not place.is_enabled("agent01")
    lifecycle.reopen(place, case, by="dana")
    assert undo_approved(place, case).restores == 2
    place.advance(case)
    assert place.is_enabled("agent01")
    assert place.is_enabled("agent02")
    lifecycle.close(place, case, by="dana")
    told = [event.action for event in place.ledger.timeline(case)]
    assert [one for one in told if one in ("incident.closed", "incident.reopened")] == [
        "incident.closed", "incident.reopened", "incident.closed"
    ]  # fmt: skip
    assert place.ledger.audit.verify().is_whole


def test_who_locked_an_account_while_the_first_was_closed_keeps_it_shut_until_closed_too(
    place: TwinPlace,
) -> None:
    first = opened(place)
    place.advance(first)
    lifecycle.close(place, first, by="dana")
    second = opened(place)
    place.advance(second)
    lifecycle.reopen(place, first, by="dana")
    plan = effect_undo.undo(place, first, requested_by="dana")
    assert (plan.restores, len(plan.kept)) == (0, 2)
    assert all(second in reason for reason in plan.kept)
    lifecycle.close(place, second, by="dana")
    assert undo_approved(place, first).restores == 2
    place.advance(first)
    assert place.is_enabled("agent01")


def test_an_incident_that_was_stopped_is_stopped_when_it_is_opened_again(place: TwinPlace) -> None:
    case = opened(place)
    lifecycle.stop(place, case, by="dana")
    lifecycle.close(place, case, by="dana")
    lifecycle.reopen(place, case, by="dana")
    place.advance(case)
    assert place.is_enabled("agent01")
    lifecycle.resume(place, case, by="dana")
    place.advance(case)
    assert not place.is_enabled("agent01")


def test_a_plan_that_is_closed_stays_so(place: TwinPlace) -> None:
    case = opened(place, Mode.PLAN)
    lifecycle.close(place, case, by="dana")
    carry_out = f"`standfast incident carry-out {case}` does what it planned"
    for say in (
        lambda: lifecycle.reopen(place, case, by="dana"),
        lambda: lifecycle.resume(place, case, by="dana"),
        lambda: lifecycle.stop(place, case, by="dana"),
        lambda: effect_undo.undo(place, case, requested_by="dana"),
        lambda: corrections.correct(place, case, "tell", {}),
    ):
        with pytest.raises(Refused, match=carry_out) as refused:
            say()
        assert "incident reopen" not in str(refused.value)
    opened_by_it = plan_promotion.carry_out(place, case, "dana").incident
    place.advance(opened_by_it)
    assert not place.is_enabled("agent01")
    undo_approved(place, opened_by_it)
    place.advance(opened_by_it)
    assert place.is_enabled("agent01")
