"""A wrong answer, corrected: what it had left out is done, and what had begun is named."""

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
from tests.usecases.places import PASSPHRASES
from tests.usecases.twins import TwinPlace, twin_place

pytestmark = pytest.mark.usefixtures("quick_looks")

ASKED, TELL = "customers_affected", "tell_customers"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[TwinPlace]:
    """A live place whose outside is twins."""
    with twin_place(tmp_path) as place:
        yield place


def _told(place: TwinPlace) -> list[int]:
    return [place.twins.told(f"customers{n}@example.net") for n in range(1, 5)]


def test_customers_whom_a_wrong_no_left_out_are_told_once_it_is_corrected(
    place: TwinPlace,
) -> None:
    case = place.run("account-takeover")
    step_decisions.answer(place, case, ASKED, "no", by="lee")
    place.advance(case)
    left_out = place.ledger.incidents.state(case).steps
    assert [left_out[name].state for name in (TELL, "start_clocks", "clocks")] == [
        StepState.SKIPPED
    ] * 3
    assert result_summary.step_reasons(place, case)[TELL].startswith("not needed")
    assert step_decisions.answer(place, case, ASKED, "yes", by="lee", again=True) == ()
    place.advance(case)
    assert not {TELL, "clocks"} & result_summary.step_reasons(place, case).keys(), (
        "they have begun since"
    )
    by_name = {one.name: one for one in incident_report(place, case).steps}
    assert (by_name["clocks"].state, by_name["clocks"].outcome) == (StepState.PROMPTED, "")
    step_decisions.decide(place, case, TELL, "lee", PASSPHRASES["lee"])
    place.advance(case)
    assert _told(place) == [1, 1, 1, 1]
    state = place.ledger.incidents.state(case)
    assert (state.steps[TELL].state, state.steps[TELL].round) == (StepState.DONE, 2)
    assert state.steps["start_clocks"].state is StepState.DONE
    said = [one.what for one in decided(state, place.ledger.timeline(case)) if "answer" in one.what]
    assert said == ["gave an answer, corrected since, to", "answered yes to"]
    assert place.ledger.audit.verify().findings == ()


def test_what_a_wrong_yes_had_begun_is_named_and_goes_on(place: TwinPlace) -> None:
    case = place.run("account-takeover")
    step_decisions.answer(place, case, ASKED, "yes", by="lee")
    place.advance(case)
    begun = step_decisions.answer(place, case, ASKED, "no", by="lee", again=True)
    assert {view.step: view.state for view in begun} == {
        TELL: StepState.ASKING,
        "start_clocks": StepState.DONE,
        "clocks": StepState.PROMPTED,
    }
    place.advance(case)
    assert place.ledger.incidents.state(case).steps[TELL].state is StepState.ASKING
    assert _told(place) == [0, 0, 0, 0]


def test_a_correction_that_a_dead_runner_left_halfway_is_not_over(place: TwinPlace) -> None:
    case = place.run("account-takeover")
    step_decisions.answer(place, case, ASKED, "no", by="lee")
    place.advance(case)
    step_decisions.answer(place, case, ASKED, "yes", by="lee", again=True)
    now = place.clock()
    place.ledger.steps.finish(case, ASKED, 2, StepState.DONE, "answered", now)
    state = place.ledger.incidents.state(case)
    assert is_pending(state.playbook.step(TELL), state)
    assert lifecycle.has_work(place, case)
    assert lifecycle.look(place, case).standing.is_busy


def test_only_who_may_answer_corrects_and_only_what_is_answered_otherwise(
    place: TwinPlace,
) -> None:
    case = place.run("account-takeover")
    with pytest.raises(UsageError, match="no answer to be corrected"):
        step_decisions.answer(place, case, ASKED, "no", by="lee", again=True)
    step_decisions.answer(place, case, ASKED, "no", by="lee")
    place.advance(case)
    with pytest.raises(ApprovalRefused):
        step_decisions.answer(place, case, ASKED, "yes", again=True)
    with pytest.raises(UsageError, match="answered so already"):
        step_decisions.answer(place, case, ASKED, "NO", by="lee", again=True)
    with pytest.raises(UsageError, match="yes"):
        step_decisions.answer(place, case, ASKED, "perhaps", by="lee", again=True)
    lifecycle.close(place, case, by="dana")
    with pytest.raises(Refused, match="is closed"):
        step_decisions.answer(place, case, ASKED, "yes", by="lee", again=True)


def test_an_exercise_takes_a_correction_as_well(place: TwinPlace) -> None:
    case = place.open("account-takeover", mode=Mode.EXERCISE)
    place.advance(case)
    step_decisions.answer(place, case, ASKED, "no", by="lee")
    place.advance(case)
    step_decisions.answer(place, case, ASKED, "yes", by="lee", again=True)
    place.advance(case)
    assert place.ledger.incidents.state(case).steps[TELL].round == 2
