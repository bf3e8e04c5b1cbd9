"""Call-outs for steps that wait for approval."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from standfast.config.sections.on_call import OnCallConfig
from standfast.ledger.runs.call_outs import CallOut, CallOutState
from standfast.records import Mode, StepState
from standfast.usecases.approvals import step_decisions
from standfast.usecases.incidents.lifecycle import resume, stop
from standfast.usecases.on_call.call_outs import attend
from standfast.usecases.on_call.matters import matters
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


def asking(installation: SimulatedInstallation, *accounts: str, opened_by: str = "dana") -> str:
    named = accounts or ("agents:agent01",)
    case = installation.open("account-takeover", named, opened_by=opened_by)
    installation.advance(case)
    step_decisions.answer(installation, case, "customers_affected", "yes", by="kim")
    assert installation.advance(case).state.steps[STEP].state is StepState.ASKING
    return case


def enrol_ina(installation: SimulatedInstallation) -> None:
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


def attended(installation: SimulatedInstallation, case: str) -> CallOut | None:
    for _ in attend(installation, {}):
        pass
    return installation.ledger.call_outs.newest(f"approvals.{case}")


def test_only_asked_people_are_paged_first_on_duty(installation: SimulatedInstallation) -> None:
    found = attended(installation, asking(installation))
    assert found is not None
    assert [page.person for page in found.pages] == ["lee", "kim"]


def test_holder_of_a_target_is_not_paged(installation: SimulatedInstallation) -> None:
    enrol_ina(installation)
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


def test_stopped_incident_pages_nobody_until_it_is_resumed(
    installation: SimulatedInstallation,
) -> None:
    case = asking(installation)
    for _ in attend(installation, {}):
        break
    stop(installation, case, by="dana")
    found = attended(installation, case)
    assert found is not None
    assert (found.state, found.pages) == (CallOutState.OVER, ())
    resume(installation, case, by="dana")
    later = replace(installation, clock=lambda: installation.clock() + timedelta(minutes=11))
    found = attended(later, case)
    assert found is not None
    assert [page.person for page in found.pages] == ["lee", "kim"]


def test_target_is_not_paged_about_their_incident(
    installation: SimulatedInstallation,
) -> None:
    enrol_ina(installation)
    first, second = (
        asking(installation, f"agents:{account}", opened_by="trigger:siem")
        for account in ("agent01", "agent03")  # the latter is an account of ina
    )
    named: dict[str, str] = {}
    for matter in matters(installation, {}):
        if matter.subject == "approvals.siem":
            named = {person.name: matter.incident_of(person) for person in matter.people}
    assert named == {"ina": first, "kim": second, "lee": second}


def test_exercise_pages_nobody(installation: SimulatedInstallation) -> None:
    case = installation.open("account-takeover", mode=Mode.EXERCISE)
    installation.advance(case)
    step_decisions.answer(installation, case, "customers_affected", "yes", by="lee")
    assert installation.advance(case).state.steps[STEP].state is StepState.ASKING
    assert attended(installation, case) is None
