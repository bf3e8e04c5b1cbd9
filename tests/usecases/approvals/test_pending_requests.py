"""Requests of an incident to the reader of its page."""

from pathlib import Path

from standfast.usecases.approvals import step_decisions
from standfast.usecases.approvals.pending_requests import pending_requests
from tests.usecases.twins import simulated_installation


def test_first_request_is_the_next_step(tmp_path: Path) -> None:
    with simulated_installation(tmp_path, "sqlite:///ledger.db") as installation:
        case = installation.run("account-takeover", ["agents:agent01"])
        step_decisions.answer(installation, case, "customers_affected", "yes", by="lee")
        installation.advance(case)
        asked = [one.step for one in pending_requests(installation, case, "lee")]
        assert asked == ["tell_customers", "clocks", "watch"]
