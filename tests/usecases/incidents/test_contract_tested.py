"""Checks and plans mark connectors that were tested on imitations."""

from pathlib import Path

import pytest

from standfast.adapters.accounts import Connector
from standfast.adapters.accounts.simulator import SimulatedConnector
from standfast.adapters.factory.live_adapters import Live
from standfast.usecases.health.check_results import Verdict
from standfast.usecases.incidents.plan import as_lines, plan_incident
from tests.usecases.health.test_checks_of_accounts import said_of
from tests.usecases.twins import simulated_installation


class Described(SimulatedConnector):
    is_contract_tested = True


@pytest.mark.parametrize("directory", [Described, SimulatedConnector])
def test_check_warns_of_contract_tested_connector(directory: type[SimulatedConnector]) -> None:
    warnings = [
        check.found
        for check in said_of(directory("staff", {"root": True}))
        if check.verdict is Verdict.WARN
    ]
    assert len(warnings) == (directory is Described)
    assert all("contract-tested" in warning for warning in warnings)


def test_plan_names_contract_tested_connector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(self: Live, name: str) -> Connector:
        return Described(name, {"agent01": True})

    monkeypatch.setattr(Live, "connector", build)
    with simulated_installation(tmp_path, "sqlite:///ledger.db") as installation:
        report = plan_incident(installation, "lock", {"accounts": ["agents:agent01"]})
    assert "agents: contract-tested" in "\n".join(as_lines(report))
