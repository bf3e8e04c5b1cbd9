"""Faults of an undo, as of a lock: no lost answer changes an access.

Each test runs on SQLite and on PostgreSQL.
"""

from datetime import timedelta

import pytest

from standfast import retry_rules
from standfast.adapters.accounts.simulator import Fault, SimulatedConnector
from standfast.errors import ExitStatus
from standfast.ledger.status_query import query_status
from standfast.playbook.run_state import Counts
from standfast.records import EffectState
from standfast.usecases.approvals import step_decisions, step_retry
from standfast.usecases.incidents import effect_undo, result_summary
from tests.usecases.installations import PASSPHRASES, undo_approved
from tests.usecases.twins import SimulatedInstallation

pytestmark = pytest.mark.usefixtures("quick_looks")

TWO = ("agents:agent01", "agents:agent02")


@pytest.fixture
def directory(installation: SimulatedInstallation) -> SimulatedConnector:
    return installation.directory


def unlocks(installation: SimulatedInstallation, case: str) -> dict[str, EffectState]:
    rows = installation.ledger.effects.of_incident(case)
    return {row.target: row.state for row in rows if row.verb == "accounts.unlock"}


@pytest.mark.parametrize(
    "fault", [Fault.BUSY, Fault.LOST_REQUEST, Fault.LOST_ANSWER, Fault.HANG], ids=str
)
def test_account_is_unlocked_once_despite_lost_answer(
    installation: SimulatedInstallation, directory: SimulatedConnector, fault: Fault
) -> None:
    case = installation.run("account-takeover", TWO)
    undo_approved(installation, case)
    directory.script("undo", fault, target="agent01")
    installation.advance(case)
    assert unlocks(installation, case) == dict.fromkeys(TWO, EffectState.DONE)
    assert all(installation.is_enabled(name) for name in ("agent01", "agent02"))
    assert directory.changes("agent01") == 2, "one lock and one undo"
    assert installation.ledger.audit.verify().is_whole


def test_lost_undo_is_abandoned_and_retryable(
    installation: SimulatedInstallation, directory: SimulatedConnector
) -> None:
    case = installation.run("account-takeover", TWO)
    undo_approved(installation, case)
    directory.script("undo", Fault.LOST_REQUEST, target="agent01", times=5)
    outcome = installation.advance(case)
    assert outcome.summary.is_partial
    assert outcome.exit_status is ExitStatus.WAITS_FOR_PEOPLE, "the playbook's question is open"
    assert unlocks(installation, case) == {TWO[0]: EffectState.FAILED, TWO[1]: EffectState.DONE}
    assert (installation.is_enabled("agent01"), installation.is_enabled("agent02")) == (False, True)
    assert step_retry.retry(installation, case).count == 1
    installation.advance(case)
    assert installation.is_enabled("agent01")


@pytest.mark.parametrize("lost", [["agent01"], ["agent01", "agent02"]], ids=["one", "all"])
def test_superseded_undo_is_not_retried(
    installation: SimulatedInstallation, directory: SimulatedConnector, lost: list[str]
) -> None:
    case = installation.run("lock", TWO)
    for account in lost:
        directory.script("undo", Fault.LOST_REQUEST, target=account, times=5)
    for name in ("undo-1", "undo-2"):
        effect_undo.undo(installation, case, requested_by="lee")
        # Two approvals are needed, because this playbook proves no lock.
        for person in ("lee", "kim"):
            step_decisions.decide(installation, case, name, person, PASSPHRASES[person])
        outcome = installation.advance(case)
        if name == "undo-1":
            assert f"retry {case} undo-1`" in outcome.summary.next_step
            assert outcome.exit_status is (ExitStatus.FAILED if lost[1:] else ExitStatus.PARTIAL)
    assert (installation.is_enabled("agent01"), installation.is_enabled("agent02")) == (True, True)
    assert outcome.summary.next_step.startswith("Everything is done.")
    assert outcome.exit_status is ExitStatus.DONE
    told = {one.step: one.sentence for one in result_summary.tallies(installation, case)}
    assert told["undo-1"] == "2 restored"
    (seen,) = query_status(installation.config.ledger.url, installation.clock()).incidents
    assert {view.step: view.counts for view in seen.steps} == {
        "lock": Counts(done=2), "undo-1": Counts(done=2), "undo-2": Counts(done=len(lost))
    }  # fmt: skip
    installation.run("lock", TWO)
    assert step_retry.retry(installation, case).count == 0
    installation.advance(case)
    assert (installation.is_enabled("agent01"), installation.is_enabled("agent02")) == (
        False,
        False,
    )


def test_undo_waits_for_a_busy_directory(
    installation: SimulatedInstallation,
    directory: SimulatedConnector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The open question of the playbook must not end the wait."""
    case = installation.run("account-takeover")
    undo_approved(installation, case)
    monkeypatch.setattr(retry_rules, "LONGEST_WAIT_FOR_PERSON", timedelta(seconds=0.01))
    directory.retry_after_seconds = 1.0
    directory.script("undo", Fault.BUSY)
    installation.advance(case)
    assert unlocks(installation, case) == {TWO[0]: EffectState.DONE}
    assert installation.is_enabled("agent01")


def test_unknown_undo_delays_a_new_lock(
    installation: SimulatedInstallation,
    directory: SimulatedConnector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = installation.run("account-takeover")
    undo_approved(installation, case)
    directory.script("undo", Fault.LOST_ANSWER)
    installation.advance_while_it_dies(case, "undo", monkeypatch)
    assert unlocks(installation, case) == {TWO[0]: EffectState.UNKNOWN}
    assert installation.is_enabled("agent01"), "it happened, and nobody knows"

    again = installation.open("lock")
    installation.advance(case)
    installation.advance(again)
    assert unlocks(installation, case) == {TWO[0]: EffectState.DONE}
    assert not installation.is_enabled("agent01"), "who was locked last stays locked"
    assert directory.changes("agent01") == 3


def test_unknown_lock_is_not_undone_before_settling(
    installation: SimulatedInstallation,
    directory: SimulatedConnector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The lock could take effect after the undo and would then remain."""
    case = installation.open("account-takeover", TWO)
    directory.script("lock", Fault.LOST_ANSWER, target="agent01")
    installation.advance_while_it_dies(case, "lock", monkeypatch)
    plan = effect_undo.plan_undo(installation, case, targets=TWO[:1])
    (kept,) = plan.kept
    assert kept.startswith("it is unknown whether it was locked")
    assert (plan.restores, plan.step) == (0, "")
    assert effect_undo.undo(installation, case, targets=TWO[:1], requested_by="dana") == plan
    installation.advance(case)
    assert undo_approved(installation, case).restores == 2
    installation.advance(case)
    assert all(installation.is_enabled(name) for name in ("agent01", "agent02"))
