"""An empty audience, by a wrong query or copy, is not a success."""

from pathlib import Path

from standfast.playbook.engine import current_state
from standfast.records import EffectState, StepState
from standfast.usecases.approvals.step_retry import retry
from standfast.usecases.incidents.result_summary import step_reasons
from tests.usecases.twins import simulated_installation

SAID = "audience 'staff': nobody is in it"


def test_notice_to_nobody_waits_for_recipients(
    tmp_path: Path,
) -> None:
    with simulated_installation(tmp_path, "sqlite:///ledger.db") as installation:
        installation.twins.audiences["staff"] = 0
        case = installation.run("account-takeover")
        state = installation.ledger.incidents.state(case)
        assert current_state(state.steps["tell_staff"]) is StepState.FAILED
        assert step_reasons(installation, case)["tell_staff"].startswith(SAID)
        assert state.uncounted == ("tell_staff",)
        assert not installation.is_enabled("agent01"), "nobody stays in for it"
        installation.twins.audiences["staff"] = 2
        retry(installation, case, "tell_staff")
        installation.advance(case)
        sent = [
            one for one in installation.ledger.effects.of_incident(case) if one.step == "tell_staff"
        ]
        assert [one.state for one in sent] == [EffectState.DONE] * 2
        assert [installation.twins.told(f"staff{n}@example.net") for n in (1, 2)] == [1, 1]
        assert installation.ledger.incidents.state(case).uncounted == ()
