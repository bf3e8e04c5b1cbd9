"""Warnings that nobody can approve, by the same rules as approvals."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from standfast.records import StepState
from standfast.usecases.approvals import step_decisions
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.plan import plan_incident
from standfast.usecases.incidents.result_summary import missing_approvers
from tests.usecases.installations import OWNER, PASSPHRASES
from tests.usecases.twins import SimulatedInstallation, simulated_installation

ACCOUNTS: dict[str, str | list[str]] = {"accounts": ["agents:agent01"]}


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[SimulatedInstallation]:
    """Installation of some days ago with founding approvers lee and kim."""
    with simulated_installation(tmp_path) as installation:
        yield replace(installation, clock=lambda: installation.clock() + timedelta(days=10))


def enrol(installation: Installation, name: str, by: str, *, days_ago: float = 5) -> None:
    installation.ledger.people.enrol(
        name=name,
        full_name=name.title(),
        mail=f"{name}@example.com",
        accounts=[f"agents:{name}"],
        roles=["duty-manager"],
        public_key="00" * 32,
        salt="00" * 16,
        enrolled_by=by,
        now=installation.clock() - timedelta(days=days_ago),
    )


def asks_about_customers(installation: SimulatedInstallation) -> str:
    """Run an incident to its request for approval; then lee and kim leave."""
    case = installation.run("account-takeover")
    step_decisions.answer(installation, case, "customers_affected", "yes", by="lee")
    assert installation.advance(case).state.steps["tell_customers"].state is StepState.ASKING
    leave(installation, "lee", "kim")
    return case


def leave(installation: SimulatedInstallation, *names: str) -> None:
    for name in names:
        installation.ledger.people.remove(name, OWNER, installation.clock())


def told(installation: SimulatedInstallation, case: str) -> list[str]:
    return missing_approvers(installation, case, installation.ledger.incidents.state(case))


def planned(installation: SimulatedInstallation, **more: Any) -> list[str]:
    options: dict[str, Any] = {"is_signed": True, "opened_by": "dana", **more}
    report = plan_incident(installation, "account-takeover", ACCOUNTS, **options)
    return [one for one in report.warnings if "can approve it now" in one]


def test_enrolled_by_requester_counts_as_no_approver(
    installation: SimulatedInstallation,
) -> None:
    enrol(installation, "eve", "dana", days_ago=7)
    enrol(installation, "fay", "eve")
    case = asks_about_customers(installation)
    (line,) = told(installation, case)
    assert "`tell_customers` needs 1 approval, but 0 people with the role" in line
    (line,) = planned(installation)
    assert line.startswith("step tell_customers needs 1 approval, but 0 people with the role")


def test_person_enrolled_by_another_counts_as_approver(installation: SimulatedInstallation) -> None:
    enrol(installation, "fay", "kim")
    case = asks_about_customers(installation)
    assert told(installation, case) == []
    assert planned(installation) == []


def test_person_enrolled_today_does_not_count_as_approver(
    installation: SimulatedInstallation,
) -> None:
    enrol(installation, "fay", "kim", days_ago=0.5)
    case = asks_about_customers(installation)
    assert "but 0 people with the role" in told(installation, case)[0]
    assert "but 0 people with the role" in planned(installation)[0]


def test_target_does_not_count_as_approver(installation: SimulatedInstallation) -> None:
    enrol(installation, "agent01", "kim")
    case = asks_about_customers(installation)
    assert "but 0 people with the role" in told(installation, case)[0]
    assert "but 0 people with the role" in planned(installation)[0]


def test_unsigned_plan_needs_one_more_approver(
    installation: SimulatedInstallation,
) -> None:
    assert planned(installation, is_signed=False, opened_by=None) == []
    leave(installation, "kim")
    enrol(installation, "fay", installation.actor)
    (line,) = planned(installation, is_signed=False, opened_by=None)
    assert "needs 2 approvals, but 1 person with the role duty-manager can" in line


def test_counted_approver_can_approve(installation: SimulatedInstallation) -> None:
    case = installation.run("account-takeover")
    step_decisions.answer(installation, case, "customers_affected", "yes", by="lee")
    installation.advance(case)
    leave(installation, "kim")
    assert told(installation, case) == []
    step_decisions.decide(installation, case, "tell_customers", "lee", PASSPHRASES["lee"])
    assert installation.advance(case).state.steps["tell_customers"].state is StepState.DONE
