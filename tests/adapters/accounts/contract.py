"""Contract of every connector: subclass `ConnectorContract`.

A `House` (fixture `house`) is one real or fake directory with a connector, and other ways to reach
the directory. The tests add accounts, read them and sign in without the connector, so that it
cannot confirm its own work.
"""

import uuid
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from standfast.adapters.accounts import AccountState, Connector
from standfast.errors import Unsupported
from standfast.records import EffectState, Json, Order, Proof, Result

HOSTILE_NAMES = [
    'nobody" or userName pr or userName eq "',
    'nobody" or active eq true or userName eq "',
    "nobody\\",
    "*",
    "%",
    "../Users",
    "nobody\r\nX-Injected: yes",
    "nobody\x00",
    "нікто",
    "",
]


def order(verb: str, name: str) -> Order:
    """Return an order of a verb for one account, with a new token."""
    return Order(token=uuid.uuid4().hex, verb=f"accounts.{verb}", target=name)


class House(ABC):
    """A directory, the connector on it, and access without the connector."""

    connector: Connector
    knows_factors = False  # whether the directory can report second factors

    @abstractmethod
    def add(self, name: str, *, is_enabled: bool = True) -> None:
        """Add an account that no test has changed yet."""

    @abstractmethod
    def is_enabled(self, name: str) -> bool:
        """Read the flag without the connector."""

    @abstractmethod
    def set_enabled(self, name: str, is_enabled: bool) -> None:
        """Change the flag as another administrator would."""

    @abstractmethod
    def stamp(self, name: str) -> object:
        """Return a value that every change by the connector alters."""

    @abstractmethod
    def sign_in(self, name: str) -> bool:
        """Try the holder's credential; without sign-in, read whether it is valid."""

    def give_factor(self, name: str) -> None:
        """Enrol a second factor as the holder would, where that is possible."""
        raise NotImplementedError

    def let_sign_in(self, name: str) -> None:
        """Return the facts that a sign-in of an added account needs."""

    def order(self, verb: str, name: str) -> Order:
        """Return an order with everything that its verb needs."""
        return order(verb, name)

    def observe(self, name: str) -> AccountState:
        (state,) = self.connector.observe([name])
        return state

    def lock(self, name: str) -> Result:
        (result,) = self.connector.lock([self.order("lock", name)])
        return result

    def undo(self, name: str, before: AccountState) -> Result:
        (result,) = self.connector.undo([replace(self.order("undo", name), prior=before.prior)])
        return result

    def prove(self, name: str) -> Result:
        (result,) = self.connector.prove([self.order("prove", name)])
        return result


class ConnectorContract:
    """Promises of `standfast.adapters.accounts`, tested on `house`."""

    @pytest.fixture
    def leaver(self, house: House) -> str:
        """Add an account and disable it before the test begins."""
        name = f"leaver-{uuid.uuid4().hex[:8]}"
        house.add(name, is_enabled=False)
        return name

    def test_an_account_is_observed_with_its_state(
        self, house: House, alice: str, leaver: str
    ) -> None:
        states = house.connector.observe([leaver, alice])
        assert [(state.name, state.exists, state.is_enabled) for state in states] == [
            (leaver, True, False),
            (alice, True, True),
        ]

    def test_canonical_name_finds_the_same_account(self, house: House, alice: str) -> None:
        spelling = house.connector.canonical(alice)
        assert house.connector.canonical(spelling) == spelling
        assert house.observe(spelling).prior == house.observe(alice).prior

    def test_observing_changes_nothing(self, house: House, alice: str) -> None:
        before = house.stamp(alice)
        house.observe(alice)
        assert house.stamp(alice) == before

    def test_second_factors_are_listed_or_unsupported(
        self, house: House, alice: str, leaver: str
    ) -> None:
        if not house.knows_factors:
            with pytest.raises(Unsupported, match="no second factors"):
                house.connector.second_factors()
            return
        other = f"agent-{uuid.uuid4().hex[:8]}"
        house.add(other)
        for name in (alice, other):
            house.let_sign_in(name)
        house.give_factor(other)
        before = [house.stamp(name) for name in (alice, other, leaver)]
        found = house.connector.second_factors()
        assert [house.stamp(name) for name in (alice, other, leaver)] == before
        assert alice in [one.name for one in found.without]
        assert not {other, leaver} & {one.name for one in found.without}
        assert (found.unreported, found.is_whole) == (0, True)
        house.give_factor(alice)
        assert alice not in [one.name for one in house.connector.second_factors().without]

    def test_an_unknown_account_is_an_answer(self, house: House) -> None:
        state = house.observe("nobody")
        assert not state.exists
        assert state.reason == ""

    @pytest.mark.parametrize("verb", ["lock", "revoke", "prove", "undo"])
    def test_an_unknown_account_is_refused(self, house: House, verb: str) -> None:
        if verb not in house.connector.verbs:
            with pytest.raises(Unsupported, match=verb):
                getattr(house.connector, verb)([house.order(verb, "nobody")])
            return
        order = replace(house.order(verb, "nobody"), prior={"enabled": True})
        (result,) = getattr(house.connector, verb)([order])
        assert result.state is EffectState.REFUSED
        assert "nobody" not in result.reason

    def test_a_hostile_name_reaches_no_other_account(self, house: House, alice: str) -> None:
        before = house.stamp(alice)
        for name in HOSTILE_NAMES:
            assert not house.observe(name).exists, name
            assert house.lock(name).state is EffectState.REFUSED, name
            assert house.stamp(alice) == before, name

    def test_lock_refuses_sign_in_until_undo(self, house: House, alice: str) -> None:
        assert house.sign_in(alice)
        before = house.observe(alice)
        assert house.lock(alice).state is EffectState.DONE
        assert not house.sign_in(alice)
        assert house.undo(alice, before).state is EffectState.DONE
        assert house.sign_in(alice)

    def test_a_lock_of_one_leaves_others_alone(self, house: House, alice: str, leaver: str) -> None:
        bystander = f"bystander-{uuid.uuid4().hex[:8]}"
        house.add(bystander)
        before = house.stamp(bystander)
        house.lock(alice)
        assert house.stamp(bystander) == before
        assert house.is_enabled(bystander)

    def test_locking_twice_changes_once(self, house: House, alice: str) -> None:
        untouched = house.stamp(alice)
        assert house.lock(alice).state is EffectState.DONE
        once = house.stamp(alice)
        assert once != untouched
        assert house.lock(alice).state is EffectState.DONE
        assert house.stamp(alice) == once

    def test_undoing_twice_changes_once(self, house: House, alice: str) -> None:
        before = house.observe(alice)
        house.lock(alice)
        assert house.undo(alice, before).state is EffectState.DONE
        once = house.stamp(alice)
        assert house.undo(alice, before).state is EffectState.DONE
        assert house.stamp(alice) == once

    def test_an_account_that_was_disabled_before_stays_disabled(
        self, house: House, leaver: str
    ) -> None:
        before = house.observe(leaver)
        assert house.lock(leaver).state is EffectState.DONE
        assert house.undo(leaver, before).state is EffectState.DONE
        assert not house.is_enabled(leaver)

    def test_an_undo_restores_the_prior_state_only(self, house: House, leaver: str) -> None:
        before = house.observe(leaver)
        house.set_enabled(leaver, True)
        assert house.undo(leaver, before).state is EffectState.DONE
        assert not house.is_enabled(leaver)

    @pytest.mark.parametrize("prior", [None, {}, {"enabled": None, "active": None, "id": 7}])
    def test_an_undo_without_a_prior_state_enables_nobody(
        self, house: House, alice: str, prior: dict[str, Json] | None
    ) -> None:
        house.lock(alice)
        order = replace(house.order("undo", alice), prior=prior)
        (result,) = house.connector.undo([order])
        assert result.state is EffectState.REFUSED
        assert not house.is_enabled(alice)

    def test_proof_fails_on_an_account_that_still_admits(self, house: House, alice: str) -> None:
        result = house.prove(alice)
        assert result.state is EffectState.FAILED
        assert result.proof is Proof.NONE
        assert result.reason

    def test_proof_fails_after_an_unlock(self, house: House, alice: str) -> None:
        house.lock(alice)
        proven = house.prove(alice)
        assert proven.state is EffectState.DONE
        assert proven.proof.reaches(Proof.READ_BACK)
        house.set_enabled(alice, True)
        assert house.prove(alice).state is EffectState.FAILED

    def test_prior_state_identifies_the_account(self, house: House, alice: str) -> None:
        assert set(house.connector.identity) <= set(house.observe(alice).prior)

    def test_proof_concerns_the_locked_account_only(
        self, house: House, alice: str, leaver: str
    ) -> None:
        locked = house.observe(alice).prior
        house.lock(alice)
        house.lock(leaver)
        mine = replace(house.order("prove", alice), prior=locked)
        of_another = replace(house.order("prove", leaver), prior=locked)
        proven, refused = house.connector.prove([mine, of_another])
        assert proven.state is EffectState.DONE
        if house.connector.identity:
            assert (refused.state, refused.proof) == (EffectState.REFUSED, Proof.NONE)
            assert "another account" in refused.reason

    def test_proving_changes_nothing(self, house: House, alice: str) -> None:
        before = house.stamp(alice)
        house.prove(alice)
        assert house.stamp(alice) == before
        house.lock(alice)
        locked = house.stamp(alice)
        house.prove(alice)
        assert house.stamp(alice) == locked

    def test_results_are_one_a_target_in_order(self, house: House, alice: str, leaver: str) -> None:
        names = ["nobody", leaver, alice, "nobody", alice]
        results = house.connector.lock([house.order("lock", name) for name in names])
        assert [result.target for result in results] == names
        assert [result.state for result in results] == [
            EffectState.REFUSED,
            EffectState.DONE,
            EffectState.DONE,
            EffectState.REFUSED,
            EffectState.DONE,
        ]
        observed = house.connector.observe(names)
        assert [state.name for state in observed] == names

    def test_no_order_is_no_result(self, house: House) -> None:
        assert house.connector.lock([]) == []
        assert house.connector.observe([]) == []

    def test_many_locks_at_once_each_hold(self, house: House) -> None:
        names = [f"agent-{uuid.uuid4().hex[:8]}" for _ in range(8)]
        for name in names:
            house.add(name)
        with ThreadPoolExecutor(max_workers=8) as pool:
            results = list(pool.map(house.lock, names))
        assert {result.state for result in results} == {EffectState.DONE}
        assert not any(house.is_enabled(name) for name in names)

    def test_what_the_plan_shows_is_declared(self, house: House) -> None:
        connector = house.connector
        assert connector.name
        assert connector.limits.timeout_seconds > 0
        assert connector.verbs <= {"lock", "revoke", "prove", "undo", "rotate"}
        assert connector.proof.reaches(Proof.READ_BACK)
