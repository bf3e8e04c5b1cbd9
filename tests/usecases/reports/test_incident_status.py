"""The status of an incident, printed and as `--json`, is one record."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from standfast.usecases.incidents.lifecycle import look
from standfast.usecases.reports.incident_status import incident_status
from tests.usecases.twins import SimulatedInstallation, simulated_installation


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[SimulatedInstallation]:
    with simulated_installation(tmp_path, "sqlite:///ledger.db") as installation:
        yield installation


def test_status_names_every_step_once(installation: SimulatedInstallation) -> None:
    case = installation.run("account-takeover")
    status = incident_status(installation, look(installation, case))
    steps = [view.step for view in status.started_steps] + [step.name for step in status.pending]
    assert sorted(steps) == sorted(step.name for step in status.state.playbook.steps)


def test_status_counts_results_by_step(installation: SimulatedInstallation) -> None:
    case = installation.run("account-takeover")
    status = incident_status(installation, look(installation, case))
    (lock,) = [one for one in status.tallies if one.verb == "accounts.lock"]
    assert (lock.done, lock.missed) == (1, ())


def test_status_as_json_holds_the_same(installation: SimulatedInstallation) -> None:
    case = installation.run("account-takeover")
    status = incident_status(installation, look(installation, case))
    document = status.as_json()
    assert document["incident"] == case
    assert document["next_step"] == status.outcome.summary.next_step
    assert document["pending"] == [step.name for step in status.pending]
