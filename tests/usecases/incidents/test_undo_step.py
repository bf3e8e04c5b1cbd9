"""Undo of a single step."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.errors import ConfigurationError, Refused, UsageError
from standfast.records import Mode
from standfast.usecases.incidents import effect_undo, lifecycle
from standfast.usecases.notice_follow_up import corrections
from standfast.usecases.triggers import plan_promotion
from tests.usecases.installations import undo_approved
from tests.usecases.twins import SimulatedInstallation, simulated_installation

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
def installation(tmp_path: Path) -> Iterator[SimulatedInstallation]:
    with simulated_installation(tmp_path, playbooks=[PLAYBOOK]) as installation:
        yield installation


def test_single_step_undo_keeps_other_locks(
    installation: SimulatedInstallation,
) -> None:
    case = lifecycle.open_incident(
        installation,
        "two",
        {"staff": ["agents:agent01", "agents:agent02"], "suppliers": ["agents:agent03"]},
        mode=Mode.LIVE,
        opened_by="dana",
    ).incident
    installation.advance(case)
    locked = ("agent01", "agent02", "agent03")
    assert not any(installation.is_enabled(name) for name in locked)
    with pytest.raises(UsageError, match="'nosuch'"):
        effect_undo.undo(installation, case, step="nosuch", requested_by="dana")
    with pytest.raises(UsageError, match="not locked by this incident"):
        effect_undo.undo(
            installation, case, step="suppliers_lock", targets=["agent01"], requested_by="dana"
        )
    plan = undo_approved(installation, case, step="suppliers_lock")
    assert (plan.restores, plan.needs_approvals) == (1, 1)
    installation.advance(case)
    assert [installation.is_enabled(name) for name in locked] == [False, False, True]
    assert (
        effect_undo.undo(installation, case, step="suppliers_lock", requested_by="dana").restores
        == 0
    )
    assert undo_approved(installation, case).restores == 2
    installation.advance(case)
    assert all(installation.is_enabled(name) for name in locked)


def test_removed_directory_does_not_block_undo(
    installation: SimulatedInstallation,
) -> None:
    here = installation.config.accounts
    both = replace(
        installation,
        config=installation.config.model_copy(update={"accounts": {**here, "old": here["agents"]}}),
    )
    inputs = {"staff": ["agents:agent01"], "suppliers": ["old:agent02"]}
    case = lifecycle.open_incident(both, "two", inputs, mode=Mode.LIVE, opened_by="dana").incident
    both.advance(case)
    plan = undo_approved(installation, case)
    assert (plan.restores, len(plan.kept)) == (1, 1)
    assert "no [accounts.old]" in plan.kept[0]
    after = installation.advance(case)
    assert [installation.is_enabled(name) for name in ("agent01", "agent02")] == [True, False]
    assert after.summary.is_over
    left = after.summary.next_step
    assert left.startswith("Every step is done, but 1 target is not restored.")
    assert f"`standfast incident undo {case} --all --plan`" in left
    with pytest.raises(ConfigurationError, match=r"no \[accounts\.old\]"):
        effect_undo.undo(installation, case, requested_by="dana")
    assert undo_approved(both, case).restores == 1
    whole = both.advance(case).summary.next_step
    assert installation.is_enabled("agent02")
    assert whole.startswith("Everything is done.")


def opened(installation: SimulatedInstallation, mode: Mode = Mode.LIVE) -> str:
    inputs = {"staff": ["agents:agent01"], "suppliers": ["agents:agent02"]}
    return lifecycle.open_incident(
        installation, "two", inputs, mode=mode, opened_by="dana"
    ).incident


def test_closed_incident_undo_needs_reopening(
    installation: SimulatedInstallation,
) -> None:
    case = opened(installation)
    installation.advance(case)
    with pytest.raises(UsageError, match=f"incident {case}: open"):
        lifecycle.reopen(installation, case, by="dana")
    lifecycle.close(installation, case, by="dana")
    with pytest.raises(Refused, match=f"reopen {case}`, then undo"):
        effect_undo.undo(installation, case, requested_by="dana")
    assert not installation.is_enabled("agent01")
    lifecycle.reopen(installation, case, by="dana")
    assert undo_approved(installation, case).restores == 2
    installation.advance(case)
    assert installation.is_enabled("agent01")
    assert installation.is_enabled("agent02")
    lifecycle.close(installation, case, by="dana")
    told = [event.action for event in installation.ledger.timeline(case)]
    assert [one for one in told if one in ("incident.closed", "incident.reopened")] == [
        "incident.closed", "incident.reopened", "incident.closed"
    ]  # fmt: skip
    assert installation.ledger.audit.verify().is_whole


def test_later_lock_holds_until_its_closing(
    installation: SimulatedInstallation,
) -> None:
    first = opened(installation)
    installation.advance(first)
    lifecycle.close(installation, first, by="dana")
    second = opened(installation)
    installation.advance(second)
    lifecycle.reopen(installation, first, by="dana")
    plan = effect_undo.undo(installation, first, requested_by="dana")
    assert (plan.restores, len(plan.kept)) == (0, 2)
    assert all(second in reason for reason in plan.kept)
    lifecycle.close(installation, second, by="dana")
    assert undo_approved(installation, first).restores == 2
    installation.advance(first)
    assert installation.is_enabled("agent01")


def test_reopened_incident_stays_stopped(
    installation: SimulatedInstallation,
) -> None:
    case = opened(installation)
    lifecycle.stop(installation, case, by="dana")
    lifecycle.close(installation, case, by="dana")
    lifecycle.reopen(installation, case, by="dana")
    installation.advance(case)
    assert installation.is_enabled("agent01")
    lifecycle.resume(installation, case, by="dana")
    installation.advance(case)
    assert not installation.is_enabled("agent01")


def test_closed_plan_cannot_be_reopened(installation: SimulatedInstallation) -> None:
    case = opened(installation, Mode.PLAN)
    lifecycle.close(installation, case, by="dana")
    carry_out = f"`standfast incident carry-out {case}`"
    for say in (
        lambda: lifecycle.reopen(installation, case, by="dana"),
        lambda: lifecycle.resume(installation, case, by="dana"),
        lambda: lifecycle.stop(installation, case, by="dana"),
        lambda: effect_undo.undo(installation, case, requested_by="dana"),
        lambda: corrections.correct(installation, case, "tell", {}),
    ):
        with pytest.raises(Refused, match=carry_out) as refused:
            say()
        assert "incident reopen" not in str(refused.value)
    opened_by_it = plan_promotion.carry_out(installation, case, "dana").incident
    installation.advance(opened_by_it)
    assert not installation.is_enabled("agent01")
    undo_approved(installation, opened_by_it)
    installation.advance(opened_by_it)
    assert installation.is_enabled("agent01")
