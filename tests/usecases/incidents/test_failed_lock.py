"""A directory is down: nobody is notified, and the operator sees why."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from standfast.adapters.accounts.simulator import Fault, SimulatedConnector
from standfast.adapters.senders.simulator import Answer, SimulatedSender
from standfast.errors import ExitStatus, Refused, UsageError
from standfast.playbook.engine import current_state
from standfast.records import EffectState, Limits, StepState
from standfast.usecases.approvals import step_decisions, step_retry
from standfast.usecases.incidents.lifecycle import close, look
from standfast.usecases.incidents.outcome import Outcome
from tests.usecases.installations import PASSPHRASES
from tests.usecases.twins import SimulatedInstallation, Twins, simulated_installation


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[SimulatedInstallation]:
    """Live installation with a directory that fails its first lock."""
    with simulated_installation(tmp_path, "sqlite:///ledger.db") as installation:
        assert isinstance(installation.twins.directory, SimulatedConnector)
        installation.twins.directory.script("lock", Fault.FAIL, times=1)
        yield installation


def state_after(outcome: Outcome, step: str) -> StepState | None:
    view = outcome.state.steps.get(step)
    return current_state(view) if view else None


@pytest.mark.parametrize("scenario", ["account-takeover", "agent-vishing"])
def test_failed_lock_notifies_nobody(installation: SimulatedInstallation, scenario: str) -> None:
    """A webhook opens the incident without a sign-in; the intruder reads mail."""
    case = installation.open(scenario, opened_by=None, trigger="siem:1")
    outcome = installation.advance(case)
    assert state_after(outcome, "lock") is StepState.FAILED
    assert state_after(outcome, "tell_staff") is None
    step_decisions.answer(installation, case, "customers_affected", "yes", by="lee")
    assert state_after(installation.advance(case), "start_clocks") is StepState.DONE, (
        "no clock waits for it"
    )
    assert installation.twins.mail.messages == []

    # A person decides to continue without the lock.
    step_decisions.accept(installation, case, "lock")
    assert state_after(installation.advance(case), "tell_staff") is StepState.DONE
    assert installation.twins.told("staff1@example.net") == 1


def test_partial_lock_notifies_nobody(installation: SimulatedInstallation) -> None:
    case = installation.open("account-takeover", [f"agents:agent0{n}" for n in (1, 2, 3)])
    outcome = installation.advance(case)
    assert state_after(outcome, "lock") is StepState.PARTIAL
    assert state_after(outcome, "prove") is not None, "what is locked is proven all the same"
    assert installation.twins.told("staff1@example.net") == 0
    step_retry.retry(installation, case, "lock")
    installation.advance(case)
    assert installation.twins.told("staff1@example.net") == 1


def test_failed_lock_shows_in_exit_status(
    installation: SimulatedInstallation,
) -> None:
    case = installation.open("account-takeover")
    outcome = installation.advance(case)
    assert outcome.summary.waits_for_people
    assert outcome.exit_status is ExitStatus.FAILED
    assert isinstance(installation.twins.directory, SimulatedConnector)
    # An operator locked the account by hand.
    installation.twins.directory.set_enabled("agent01", False)
    step_decisions.accept(installation, case, "lock")
    assert installation.advance(case).exit_status is ExitStatus.WAITS_FOR_PEOPLE


def test_failed_lock_is_next_and_retryable(
    installation: SimulatedInstallation,
) -> None:
    case = installation.open("account-takeover")
    outcome = installation.advance(case)
    assert outcome.summary.next_step.startswith("`lock` blocks `prove`")
    assert f"`standfast incident retry {case} lock`" in outcome.summary.next_step
    assert "or do it by hand and continue without it" in outcome.summary.next_step
    assert state_after(outcome, "prove") is None
    step_retry.retry(installation, case, "lock")
    outcome = installation.advance(case)
    assert state_after(outcome, "lock") is StepState.DONE
    assert state_after(outcome, "prove") is StepState.DONE
    assert installation.twins.told("staff1@example.net") == 1


def test_absent_relay_does_not_block_the_terminal(
    tmp_path: Path,
) -> None:
    later = Answer(state=EffectState.FAILED, retry_after_seconds=120)
    away = SimulatedSender(name="mail", answer=lambda _: later, limits=Limits(timeout_seconds=0.05))
    with simulated_installation(tmp_path, "sqlite:///ledger.db", Twins(mail=away)) as installation:
        began = time.monotonic()
        outcome = installation.advance(installation.open("account-takeover"))
        assert time.monotonic() - began < 110  # the relay requests a wait of two minutes four times
    assert state_after(outcome, "tell_staff") is StepState.RUNNING
    assert "Are customers affected" in str(outcome.summary.prompted_step)


def test_closed_incident_reports_no_failed_lock(installation: SimulatedInstallation) -> None:
    case = installation.run("account-takeover")
    close(installation, case, by="dana")
    for say in (
        lambda: step_decisions.answer(installation, case, "customers_affected", "yes", by="lee"),
        lambda: step_decisions.accept(installation, case, "lock"),
        lambda: step_retry.retry(installation, case),
        lambda: step_decisions.decide(installation, case, "lock", "lee", PASSPHRASES["lee"]),
    ):
        with pytest.raises(Refused, match="closed"):
            say()
    assert look(installation, case).summary.next_step.startswith("Closed. Timeline:")


def test_unknown_step_lists_the_existing_ones(
    installation: SimulatedInstallation,
) -> None:
    case = installation.run("account-takeover")
    with pytest.raises(UsageError, match=r"'nosuch'.* freeze_logs"):
        step_decisions.accept(installation, case, "nosuch")
    with pytest.raises(UsageError, match="no step waits for approval"):
        step_decisions.decide(installation, case, None, "lee", PASSPHRASES["lee"])
