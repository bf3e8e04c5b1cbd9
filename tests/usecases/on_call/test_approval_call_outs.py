"""Call-outs for steps that wait for approval."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.config.sections.on_call import OnCallConfig
from standfast.ledger.runs.call_outs import CallOut, CallOutState
from standfast.records import Mode, StepState
from standfast.usecases.approvals import step_decisions
from standfast.usecases.incidents.lifecycle import stop
from standfast.usecases.on_call.call_outs import attend
from tests.usecases.installations import approve_as
from tests.usecases.twins import SimulatedInstallation, simulated_installation

STEP = "tell_customers"  # duty managers, lee and kim, may approve it
MAIL = {"pagers": [{"sender": "mail"}]}
ROTA = OnCallConfig.model_validate(
    {
        "people": {"dana": MAIL, "ina": MAIL, "kim": MAIL, "lee": MAIL},
        "shifts": [{"people": ["lee"]}],
        "fallback": ["person:dana"],
        "rounds": 1,
    }
)


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[SimulatedInstallation]:
    """An installation on call, without a mail server for call-outs."""
    with simulated_installation(tmp_path) as found:
        yield replace(found, config=found.config.model_copy(update={"on_call": ROTA}))


def asking(installation: SimulatedInstallation, *accounts: str) -> str:
    case = installation.run("account-takeover", accounts or ("agents:agent01",))
    step_decisions.answer(installation, case, "customers_affected", "yes", by="kim")
    assert installation.advance(case).state.steps[STEP].state is StepState.ASKING
    return case


def attended(installation: SimulatedInstallation, case: str) -> CallOut | None:
    for _ in attend(installation, {}):
        pass
    return installation.ledger.call_outs.newest(f"approvals.{case}")


def test_only_asked_people_are_paged_first_on_duty(installation: SimulatedInstallation) -> None:
    found = attended(installation, asking(installation))
    assert found is not None
    assert [page.person for page in found.pages] == ["lee", "kim"]


def test_holder_of_a_target_is_not_paged(installation: SimulatedInstallation) -> None:
    installation.ledger.people.enrol(
        name="ina",
        full_name="Ina Roth",
        mail="ina@example.com",
        accounts=["agents:agent03"],
        roles=["duty-manager"],
        public_key="00" * 32,
        salt="00" * 16,
        enrolled_by="os:test",
        now=installation.clock(),
    )
    for account, people in (("agent01", {"ina", "kim", "lee"}), ("agent03", {"kim", "lee"})):
        found = attended(installation, asking(installation, f"agents:{account}"))
        assert found is not None
        assert {page.person for page in found.pages} == people


def test_approval_ends_the_call_out(installation: SimulatedInstallation) -> None:
    case = asking(installation)
    for _ in attend(installation, {}):
        break  # it has begun, and nobody was paged yet
    approve_as(installation, case, STEP, "lee")
    installation.advance(case)
    found = attended(installation, case)
    assert found is not None
    assert (found.state, found.pages) == (CallOutState.OVER, ())


def test_stopped_incident_pages_nobody(installation: SimulatedInstallation) -> None:
    case = asking(installation)
    stop(installation, case, by="dana")
    assert attended(installation, case) is None


def test_exercise_pages_nobody(installation: SimulatedInstallation) -> None:
    case = installation.open("account-takeover", mode=Mode.EXERCISE)
    installation.advance(case)
    step_decisions.answer(installation, case, "customers_affected", "yes", by="lee")
    assert installation.advance(case).state.steps[STEP].state is StepState.ASKING
    assert attended(installation, case) is None
