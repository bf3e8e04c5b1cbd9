"""A corrected answer: skipped steps are executed, begun steps are named."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from standfast.errors import ApprovalRefused, Refused, UsageError
from standfast.playbook.engine import is_pending
from standfast.records import Mode, StepState
from standfast.usecases.approvals import step_decisions
from standfast.usecases.incidents import lifecycle, result_summary
from standfast.usecases.reports.result_pages import incident_report
from standfast.usecases.reports.timeline import decisions as decided
from tests.usecases.installations import PASSPHRASES
from tests.usecases.twins import SimulatedInstallation, simulated_installation

pytestmark = pytest.mark.usefixtures("quick_looks")

ASKED, TELL = "customers_affected", "tell_customers"


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[SimulatedInstallation]:
    """Live installation with simulators."""
    with simulated_installation(tmp_path) as installation:
        yield installation


def _told(installation: SimulatedInstallation) -> list[int]:
    return [installation.twins.told(f"customers{n}@example.net") for n in range(1, 5)]


def test_corrected_no_notifies_customers_once(
    installation: SimulatedInstallation,
) -> None:
    case = installation.run("account-takeover")
    step_decisions.answer(installation, case, ASKED, "no", by="lee")
    installation.advance(case)
    left_out = installation.ledger.incidents.state(case).steps
    assert [left_out[name].state for name in (TELL, "start_clocks", "clocks")] == [
        StepState.SKIPPED
    ] * 3
    assert result_summary.step_reasons(installation, case)[TELL].startswith("not needed")
    assert (
        step_decisions.answer(installation, case, ASKED, "yes", by="lee", is_correction=True) == ()
    )
    installation.advance(case)
    assert not {TELL, "clocks"} & result_summary.step_reasons(installation, case).keys(), (
        "they have begun since"
    )
    by_name = {one.name: one for one in incident_report(installation, case).steps}
    assert (by_name["clocks"].state, by_name["clocks"].outcome) == (StepState.PROMPTED, "")
    step_decisions.decide(installation, case, TELL, "lee", PASSPHRASES["lee"])
    installation.advance(case)
    assert _told(installation) == [1, 1, 1, 1]
    state = installation.ledger.incidents.state(case)
    assert (state.steps[TELL].state, state.steps[TELL].round) == (StepState.DONE, 2)
    assert state.steps["start_clocks"].state is StepState.DONE
    said = [
        one.action
        for one in decided(state, installation.ledger.timeline(case))
        if "answer" in one.action
    ]
    assert said == ["gave an answer, corrected since, to", "answered yes to"]
    assert installation.ledger.audit.verify().findings == ()


def test_corrected_yes_names_what_had_begun(
    installation: SimulatedInstallation,
) -> None:
    case = installation.run("account-takeover")
    step_decisions.answer(installation, case, ASKED, "yes", by="lee")
    installation.advance(case)
    begun = step_decisions.answer(installation, case, ASKED, "no", by="lee", is_correction=True)
    assert {view.step: view.state for view in begun} == {
        TELL: StepState.ASKING,
        "start_clocks": StepState.DONE,
        "clocks": StepState.PROMPTED,
    }
    installation.advance(case)
    assert installation.ledger.incidents.state(case).steps[TELL].state is StepState.ASKING
    assert _told(installation) == [0, 0, 0, 0]


def test_interrupted_correction_is_not_over(
    installation: SimulatedInstallation,
) -> None:
    case = installation.run("account-takeover")
    step_decisions.answer(installation, case, ASKED, "no", by="lee")
    installation.advance(case)
    step_decisions.answer(installation, case, ASKED, "yes", by="lee", is_correction=True)
    now = installation.clock()
    installation.ledger.steps.finish(case, ASKED, 2, StepState.DONE, "answered", now)
    state = installation.ledger.incidents.state(case)
    assert is_pending(state.playbook.step(TELL), state)
    assert lifecycle.has_work(installation, case)
    assert lifecycle.look(installation, case).summary.is_busy


def test_correction_needs_the_role_and_another_answer(
    installation: SimulatedInstallation,
) -> None:
    case = installation.run("account-takeover")
    with pytest.raises(UsageError, match="has no answer"):
        step_decisions.answer(installation, case, ASKED, "no", by="lee", is_correction=True)
    step_decisions.answer(installation, case, ASKED, "no", by="lee")
    installation.advance(case)
    with pytest.raises(ApprovalRefused):
        step_decisions.answer(installation, case, ASKED, "yes", is_correction=True)
    with pytest.raises(UsageError, match="already has this answer"):
        step_decisions.answer(installation, case, ASKED, "NO", by="lee", is_correction=True)
    with pytest.raises(UsageError, match="yes"):
        step_decisions.answer(installation, case, ASKED, "perhaps", by="lee", is_correction=True)
    lifecycle.close(installation, case, by="dana")
    with pytest.raises(Refused, match="closed"):
        step_decisions.answer(installation, case, ASKED, "yes", by="lee", is_correction=True)


def test_an_exercise_takes_a_correction_as_well(installation: SimulatedInstallation) -> None:
    case = installation.open("account-takeover", mode=Mode.EXERCISE)
    installation.advance(case)
    step_decisions.answer(installation, case, ASKED, "no", by="lee")
    installation.advance(case)
    step_decisions.answer(installation, case, ASKED, "yes", by="lee", is_correction=True)
    installation.advance(case)
    assert installation.ledger.incidents.state(case).steps[TELL].round == 2
