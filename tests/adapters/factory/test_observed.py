"""Observation of accounts after a lock with an unknown outcome."""

import pytest

from standfast.adapters.accounts import AccountState
from standfast.adapters.accounts.simulator import SimulatedConnector
from standfast.adapters.factory import _account_observed
from tests.effect_rows import effect_row


@pytest.mark.parametrize(
    ("is_enabled", "live_sessions", "happened"),
    [
        (False, 0, True),
        (False, 1, False),  # a session continues, so the lock is repeated
        (False, None, False),  # nothing shows that the sessions ended
        (None, 0, False),
        (True, 0, False),
    ],
)
def test_lock_needs_every_session_gone(
    is_enabled: bool | None, live_sessions: int | None, happened: bool
) -> None:
    row = effect_row(verb="accounts.lock", connector="agents", target="agents:alice")
    seen = AccountState(
        name="alice", exists=True, is_enabled=is_enabled, live_sessions=live_sessions
    )
    directory = SimulatedConnector("agents", {"alice": True})
    assert "revoke" in directory.verbs
    assert _account_observed("accounts.lock", row, seen, directory).happened is happened
