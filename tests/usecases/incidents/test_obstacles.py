"""Locks that a directory would refuse are refused in the plan."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.adapters.accounts import AccountState, Connector
from standfast.adapters.accounts.base.results import ABSENT
from standfast.adapters.accounts.simulator import SimulatedConnector
from standfast.adapters.factory.live_adapters import Live
from standfast.errors import ExitStatus
from standfast.usecases.incidents.plan import plan_incident
from tests.usecases.twins import simulated_installation


class Guarded(SimulatedConnector):
    """A directory that refuses to lock its superuser."""

    def _observe(self, names: Sequence[str]) -> list[AccountState]:
        return [
            replace(state, obstacle="superusers are not locked from here")
            if state.name == "root"
            else state
            for state in super()._observe(names)
        ]


def test_obstacle_refuses_one_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(self: Live, name: str) -> Connector:
        return Guarded(name, {"agent01": True, "root": True})

    monkeypatch.setattr(Live, "connector", build)
    with simulated_installation(tmp_path, "sqlite:///ledger.db") as installation:
        report = plan_incident(installation, "lock", {"accounts": ["agents:agent01", "root"]})
    step = next(step for step in report.steps if step.by_adapter)
    assert step.refused == {"superusers are not locked from here": 1}
    assert step.by_adapter == {"agents": 1}


def test_unknown_account_is_refused_in_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = SimulatedConnector("agents", {"agent01": True})
    monkeypatch.setattr(Live, "connector", lambda self, name: directory)
    with simulated_installation(tmp_path, "sqlite:///ledger.db") as installation:
        mistyped = plan_incident(installation, "lock", {"accounts": ["agents:agnet01"]})
        among_others = plan_incident(
            installation, "lock", {"accounts": ["agents:agnet01", "agent01"]}
        )
        directory.go_away()
        unread = plan_incident(installation, "lock", {"accounts": ["agents:agnet01"]})
    (lock,) = mistyped.steps
    assert lock.refused == {ABSENT: 1}
    assert mistyped.exit_status is ExitStatus.REFUSED
    assert among_others.exit_status is ExitStatus.PARTIAL
    # An account that cannot be read may still exist.
    assert unread.steps[0].by_adapter == {"agents": 1}
    assert "read again before each lock" in unread.steps[0].notes[-1]
