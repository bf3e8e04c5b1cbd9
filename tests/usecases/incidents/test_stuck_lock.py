"""A silent directory: other locks and later steps continue."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from standfast import retry_rules
from standfast.adapters.accounts import AccountState
from standfast.adapters.accounts.simulator import Fault, SimulatedConnector
from standfast.errors import ExitStatus, Unavailable, UsageError
from standfast.playbook import engine
from standfast.records import EffectState, Limits, Order, Result, StepState
from standfast.usecases.approvals import step_decisions, step_retry
from standfast.usecases.incidents import account_effects
from standfast.usecases.incidents.outcome import Outcome
from tests.servers import wait_until
from tests.usecases.twins import (
    ACCOUNTS,
    SimulatedInstallation,
    TwinAdapters,
    Twins,
    simulated_installation,
    twin_directory,
)

OBLIGATED_PARTIES = [f"agents:{name}" for name in ACCOUNTS[:2]]


@pytest.fixture
def directory() -> Iterator[SimulatedConnector]:
    """A directory that does not answer its first lock, and answers others."""
    directory = SimulatedConnector(
        "agents",
        dict.fromkeys(ACCOUNTS, True),
        limits=Limits(batch=1, workers=2, timeout_seconds=600),
        retry_after_seconds=0.01,
    )
    directory.script("lock", Fault.HANG, target=ACCOUNTS[0])
    yield directory
    directory.let_go()


def steps(installation: SimulatedInstallation, case: str) -> dict[str, StepState]:
    found = installation.ledger.incidents.state(case).steps
    return {name: view.state for name, view in found.items()}


def test_hanging_directory_holds_notices_and_not_questions(
    tmp_path: Path, directory: SimulatedConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "PATIENCE", timedelta(seconds=0.2))
    with simulated_installation(
        tmp_path, "sqlite:///ledger.db", Twins(directory=directory)
    ) as installation:
        case = installation.open("account-takeover", OBLIGATED_PARTIES)
        runner = threading.Thread(target=installation.advance, args=[case], daemon=True)
        runner.start()
        wait_until(
            lambda: "customers_affected" in steps(installation, case), "the question to be asked"
        )
        now = steps(installation, case)
        assert now["lock"] is StepState.RUNNING
        assert "prove" not in now  # the proof waits for the lock, however long it takes
        assert "tell_staff" not in now, "who is not locked out yet may read the mail"
        assert not directory.is_enabled(ACCOUNTS[1])
        assert directory.is_enabled(ACCOUNTS[0])
        installation.ledger.incidents.set_stopped(case, True, "os:test", installation.clock())
        directory.let_go()
        runner.join(timeout=120)
        assert not runner.is_alive()


class Silent(SimulatedConnector):
    """A directory that does not answer until the test releases it."""

    def _observe(self, names: Sequence[str]) -> list[AccountState]:
        self._let_go.wait(600)
        return super()._observe(names)


def test_lock_in_one_directory_ignores_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The account is named without its directory, as in a hurry."""
    monkeypatch.setattr(account_effects, "SILENT_SECONDS", 0.2)
    silent = Silent("old", {ACCOUNTS[0]: True}, limits=Limits(timeout_seconds=600))
    directories = {"agents": twin_directory(), "old": silent}
    monkeypatch.setattr(TwinAdapters, "connector", lambda self, name: directories[name])
    with simulated_installation(tmp_path, "sqlite:///ledger.db") as installation:
        agents = installation.config.accounts["agents"]
        both = installation.config.model_copy(
            update={"accounts": {"old": agents, "agents": agents}}
        )
        installation = replace(installation, config=both)
        case = installation.open("lock", [ACCOUNTS[0]])
        outcomes: list[Outcome] = []
        runner = threading.Thread(
            target=lambda: outcomes.append(installation.advance(case)), daemon=True
        )
        runner.start()
        try:
            wait_until(lambda: not directories["agents"].is_enabled(ACCOUNTS[0]), "it is locked")
            assert silent.calls == ()
        finally:
            silent.let_go()
        runner.join(timeout=120)
        assert [outcome.exit_status for outcome in outcomes] == [ExitStatus.DONE]
        assert not silent.is_enabled(ACCOUNTS[0])


class Swallowing(SimulatedConnector):
    """A directory that applies a lock and does not answer until healed."""

    is_well = True
    answers_locks = False

    def _lock(self, orders: Sequence[Order]) -> list[Result]:
        if self.answers_locks:
            return super()._lock(orders)
        self.is_well = False
        return [Result(target=one.target, state=EffectState.UNKNOWN) for one in orders]

    def _observe(self, names: Sequence[str]) -> list[AccountState]:
        if not self.is_well:
            raise Unavailable("the directory does not answer")
        return super()._observe(names)

    def _prove(self, orders: Sequence[Order]) -> list[Result]:
        if not self.is_well:
            return [Result(target=one.target, state=EffectState.FAILED) for one in orders]
        return super()._prove(orders)


def test_proof_may_continue_without_stuck_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_rules, "OBSERVATION_PAUSE", timedelta(hours=1))
    old = Swallowing("old", {ACCOUNTS[1]: True}, limits=Limits(timeout_seconds=0.01))
    directories = {"agents": twin_directory(), "old": old}
    monkeypatch.setattr(TwinAdapters, "connector", lambda self, name: directories[name])
    with simulated_installation(tmp_path, "sqlite:///ledger.db") as installation:
        agents = installation.config.accounts["agents"]
        both = installation.config.model_copy(
            update={"accounts": {"old": agents, "agents": agents}}
        )
        installation = replace(installation, config=both)
        case = installation.open(
            "account-takeover", [f"agents:{ACCOUNTS[0]}", f"old:{ACCOUNTS[1]}"]
        )
        with pytest.raises(UsageError, match="has not ended"):
            step_decisions.accept(installation, case, "lock", by="lee")  # the step has not begun
        said = installation.advance(case).summary.next_step
        assert "1 of 2 done, 1 unknown" in said
        assert f"continue without them: `standfast incident accept {case} lock`" in said
        assert "prove" not in steps(installation, case)
        step_decisions.accept(installation, case, "lock", by="lee")
        outcome = installation.advance(case)
        assert steps(installation, case)["lock"] is StepState.PARTIAL
        # Only the account in the directory that answers is proven.
        assert steps(installation, case)["prove"] is StepState.PARTIAL
        assert not outcome.summary.is_over

        old.is_well = old.answers_locks = True
        later = replace(installation, clock=lambda: datetime.now(UTC) + timedelta(hours=9))
        later.advance(case)
        assert not old.is_enabled(ACCOUNTS[1])
        assert steps(installation, case)["lock"] is StepState.DONE
        step_retry.retry(later, case, "prove", by="lee")
        later.advance(case)
        assert steps(installation, case)["prove"] is StepState.DONE
        assert installation.ledger.audit.verify().is_whole


def test_notice_waits_for_a_progressing_lock(tmp_path: Path) -> None:
    """The notice to staff waits, because the intruder still reads their mail."""
    with simulated_installation(tmp_path, "sqlite:///ledger.db") as installation:
        case = installation.run("account-takeover", OBLIGATED_PARTIES)
        told = [
            (event.action, event.detail.get("step")) for event in installation.ledger.timeline(case)
        ]
        assert told.index(("step.finished", "lock")) < told.index(("step.begun", "tell_staff"))
