from concurrent.futures import ThreadPoolExecutor

import pytest

from standfast.adapters.accounts.simulator import Call, Fault, SimulatedConnector
from standfast.errors import Unavailable
from standfast.records import EffectState, Limits, Order, Proof
from tests.adapters.accounts.contract import ConnectorContract, House

PASSWORD = "the holder's own"


class MemoryHouse(House):
    """The simulator; a test adds its accounts while it runs."""

    knows_factors = True

    def __init__(self) -> None:
        self.connector: SimulatedConnector = SimulatedConnector("twin", {}, factors={})

    def give_factor(self, name: str) -> None:
        self.connector.give_factor(name)

    def add(self, name: str, *, is_enabled: bool = True) -> None:
        self.connector.add(name, is_enabled=is_enabled, password=PASSWORD)

    def is_enabled(self, name: str) -> bool:
        return self.connector.is_enabled(name)

    def set_enabled(self, name: str, is_enabled: bool) -> None:
        self.connector.set_enabled(name, is_enabled)

    def stamp(self, name: str) -> object:
        return self.connector.changes(name)

    def sign_in(self, name: str) -> bool:
        return self.connector.sign_in(name, PASSWORD)


class TestMemoryDirectory(ConnectorContract):
    @pytest.fixture
    def house(self) -> MemoryHouse:
        return MemoryHouse()


def order(target: str = "alice", verb: str = "lock") -> Order:
    return Order(token=f"token-{target}", verb=f"accounts.{verb}", target=target)


@pytest.fixture
def twin() -> SimulatedConnector:
    return SimulatedConnector(
        "twin",
        {"alice": True, "bob": True},
        passwords={"alice": PASSWORD},
        limits=Limits(batch=10, timeout_seconds=5),
    )


def test_undo_does_not_revive_the_session(
    twin: SimulatedConnector,
) -> None:
    session = twin.open_session("alice")
    assert twin.admits(session)
    (before,) = twin.observe(["alice"])
    assert before.live_sessions == 1
    twin.lock([order()])
    assert not twin.admits(session)
    twin.undo([Order(token="u", verb="accounts.undo", target="alice", prior=before.prior)])
    assert not twin.admits(session)
    assert twin.sign_in("alice", PASSWORD)


def test_revocation_ends_sessions_and_keeps_account_enabled(
    twin: SimulatedConnector,
) -> None:
    session = twin.open_session("alice")
    (result,) = twin.revoke([order(verb="revoke")])
    assert result.state is EffectState.DONE
    assert not twin.admits(session)
    assert twin.is_enabled("alice")


def test_a_live_session_fails_the_proof(twin: SimulatedConnector) -> None:
    twin.set_enabled("alice", False)
    twin.open_session("alice")
    (result,) = twin.prove([order(verb="prove")])
    assert result.state is EffectState.FAILED


def test_a_proof_reaches_the_highest_level(twin: SimulatedConnector) -> None:
    twin.lock([order()])
    (result,) = twin.prove([order(verb="prove")])
    assert (result.state, result.proof) == (EffectState.DONE, Proof.REFUSED)


def test_wrong_or_missing_password_is_refused(twin: SimulatedConnector) -> None:
    assert not twin.sign_in("alice", "guess")
    assert not twin.sign_in("bob", "")
    assert not twin.sign_in("nobody", PASSWORD)


@pytest.mark.parametrize(
    ("fault", "state", "is_enabled_after", "may_retry"),
    [
        (Fault.FAIL, EffectState.FAILED, True, False),
        (Fault.BUSY, EffectState.FAILED, True, True),
        (Fault.LOST_REQUEST, EffectState.UNKNOWN, True, False),
        (Fault.LOST_ANSWER, EffectState.UNKNOWN, False, False),
    ],
)
def test_a_fault_leaves_exactly_what_it_says(
    twin: SimulatedConnector,
    fault: Fault,
    state: EffectState,
    is_enabled_after: bool,
    may_retry: bool,
) -> None:
    twin.script("lock", fault, target="alice")
    alice, bob = twin.lock([order("alice"), order("bob")])
    assert alice.state is state
    assert (alice.retry_after_seconds is not None) is may_retry
    assert twin.is_enabled("alice") is is_enabled_after
    assert bob.state is EffectState.DONE
    (again,) = twin.lock([order("alice")])
    assert again.state is EffectState.DONE


def test_untargeted_fault_strikes_as_scripted(twin: SimulatedConnector) -> None:
    twin.script("lock", Fault.FAIL, times=2)
    states = [result.state for result in twin.lock([order("alice"), order("bob"), order("alice")])]
    assert states == [EffectState.FAILED, EffectState.FAILED, EffectState.DONE]


def test_hanging_order_ends_unknown_alone(twin: SimulatedConnector) -> None:
    twin.script("lock", Fault.HANG, target="alice")
    with ThreadPoolExecutor(max_workers=1) as pool:
        hanging = pool.submit(twin.lock, [order("alice")])
        (bob,) = twin.lock([order("bob")])
        assert bob.state is EffectState.DONE
        twin.let_go()
        (alice,) = hanging.result(timeout=60)
    assert alice.state is EffectState.UNKNOWN
    assert twin.is_enabled("alice")


def test_a_hang_ends_at_the_time_out() -> None:
    twin = SimulatedConnector("twin", {"alice": True}, limits=Limits(timeout_seconds=0.01))
    twin.script("lock", Fault.HANG)
    (result,) = twin.lock([order()])
    assert result.state is EffectState.UNKNOWN


def test_absent_directory_reports_until_it_returns(twin: SimulatedConnector) -> None:
    twin.go_away()
    with pytest.raises(Unavailable, match="twin"):
        twin.observe(["alice"])
    (result,) = twin.lock([order()])
    assert result.state is EffectState.FAILED
    assert result.retry_after_seconds == 1.0
    twin.come_back()
    (result,) = twin.lock([order()])
    assert result.state is EffectState.DONE


def test_every_call_is_logged_in_order(twin: SimulatedConnector) -> None:
    twin.observe(["alice"])
    twin.lock([order("alice"), order("bob")])
    assert twin.calls == (
        Call(verb="observe", targets=("alice",)),
        Call(verb="lock", targets=("alice", "bob")),
    )


def test_rotation_invalidates_only_the_password() -> None:
    directory = SimulatedConnector("agents", {"ann": True}, passwords={"ann": "old word"})
    assert directory.sign_in("ann", "old word")
    (result,) = directory.rotate([Order(token="t", verb="accounts.rotate", target="ann")])
    assert result.state is EffectState.DONE
    assert result.facts == {}  # the new password is not stored
    assert not directory.sign_in("ann", "old word")
    assert directory.is_enabled("ann")
