"""What an incident asks of whoever reads it on a page."""

from pathlib import Path

from standfast.usecases.approvals import step_decisions
from standfast.usecases.approvals.pending_requests import asked_of
from tests.usecases.twins import twin_place


def test_the_first_of_what_is_asked_is_the_one_next_step(tmp_path: Path) -> None:
    with twin_place(tmp_path, "sqlite:///ledger.db") as place:
        case = place.run("account-takeover", ["agents:agent01"])
        step_decisions.answer(place, case, "customers_affected", "yes", by="lee")
        place.advance(case)
        asked = [one.step for one in asked_of(place, case, "lee")]
        assert asked == ["tell_customers", "clocks", "watch"]
