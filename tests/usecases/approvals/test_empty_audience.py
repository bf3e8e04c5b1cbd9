"""An audience that holds nobody: of a wrong query, or a copy without its rows, not a job done."""

from pathlib import Path

from standfast.playbook.engine import standing_state
from standfast.records import EffectState, StepState
from standfast.usecases.approvals.step_decisions import retry
from standfast.usecases.incidents.result_summary import step_reasons
from tests.usecases.twins import twin_place

SAID = "nobody is in the audience 'staff'; see that its list or its query is right"


def test_a_notice_to_nobody_is_not_called_done_and_tells_once_somebody_is_there(
    tmp_path: Path,
) -> None:
    with twin_place(tmp_path, "sqlite:///ledger.db") as place:
        place.twins.audiences["staff"] = 0
        case = place.run("account-takeover")
        state = place.ledger.incidents.state(case)
        assert standing_state(state.steps["tell_staff"]) is StepState.FAILED
        assert step_reasons(place, case)["tell_staff"] == SAID
        assert state.uncounted == ("tell_staff",)
        assert not place.is_enabled("agent01"), "nobody stays in for it"
        place.twins.audiences["staff"] = 2
        retry(place, case, "tell_staff")
        place.advance(case)
        sent = [one for one in place.ledger.effects.of_incident(case) if one.step == "tell_staff"]
        assert [one.state for one in sent] == [EffectState.DONE] * 2
        assert [place.twins.told(f"staff{n}@example.net") for n in (1, 2)] == [1, 1]
        assert place.ledger.incidents.state(case).uncounted == ()
