"""An installation without logs: plan and incident say so and do not wait."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.errors import ExitStatus
from standfast.playbook.engine import current_state
from standfast.records import StepState
from standfast.usecases.incidents.plan import as_lines, plan_incident
from standfast.usecases.incidents.result_summary import tallies
from tests.usecases.twins import SimulatedInstallation, simulated_installation

SAID = "no evidence source is configured. Add [evidence.NAME], and copy present logs by hand."


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[SimulatedInstallation]:
    with simulated_installation(tmp_path, "sqlite:///ledger.db") as installation:
        yield replace(installation, config=installation.config.model_copy(update={"evidence": {}}))


def test_plan_states_missing_evidence(installation: SimulatedInstallation) -> None:
    report = plan_incident(installation, "account-takeover", {"accounts": ["agents:agent01"]})
    (step,) = [step for step in report.steps if step.name == "freeze_logs"]
    assert step.refused == {SAID: 1}
    assert step.impossible == "every target would be refused"
    assert report.exit_status is ExitStatus.REFUSED
    assert f"refused: 1, {SAID}" in "\n".join(as_lines(report))


def test_missing_evidence_does_not_prevent_the_lock(
    installation: SimulatedInstallation,
) -> None:
    case = installation.run("account-takeover")
    steps = installation.ledger.incidents.state(case).steps
    assert current_state(steps["freeze_logs"]) is StepState.FAILED
    (told,) = [one for one in tallies(installation, case) if one.step == "freeze_logs"]
    assert [(one.count, one.reason) for one in told.missed] == [(1, SAID)]
    assert not installation.is_enabled("agent01")
    assert steps["prove"].state is StepState.DONE
